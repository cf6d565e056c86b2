"""Write runs to MLflow with their parameters, numbers and files, and keep those that could not be sent."""
