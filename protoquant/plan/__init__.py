"""What the pipeline of params.yaml will need, told before anything runs."""
