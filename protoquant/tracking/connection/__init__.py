"""Connect to MLflow: its address, signing in, and outages."""
