"""Verbs that run the pipeline and read what it will need."""
