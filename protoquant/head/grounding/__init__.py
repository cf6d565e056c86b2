"""Grounding: tying codes to train patches."""
