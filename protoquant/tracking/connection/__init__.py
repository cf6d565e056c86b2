"""The MLflow server: where it is, signing in, and what happens while it is away."""
