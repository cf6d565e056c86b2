"""Runs in MLflow: their parameters, numbers and files, and those that wait to be sent."""
