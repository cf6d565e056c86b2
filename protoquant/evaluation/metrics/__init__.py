"""The metrics of the test split, each a module."""
