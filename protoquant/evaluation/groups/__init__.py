"""The metric groups of ``evaluate.metrics``: a module for each, which measures a subject on one split."""
