"""Prefect flows around DVC's pipeline; only this package imports prefect."""
