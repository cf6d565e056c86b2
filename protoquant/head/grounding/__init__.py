"""Grounding, which ties codes to train patches."""
