"""The metrics of the test split, one module for each."""
