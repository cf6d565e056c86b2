"""The flows, on one Prefect server that ends with the folder."""
