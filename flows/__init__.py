"""Prefect flows around DVC's pipeline; the only prefect imports."""
