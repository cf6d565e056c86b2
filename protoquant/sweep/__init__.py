"""Sweeps: many trials of quantize and train on one feature store, and what they say together."""
