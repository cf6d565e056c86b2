"""REGISTER: MLflow runs and registered model versions; the only mlflow imports."""
