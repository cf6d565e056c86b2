"""Seeding, which chooses the initial codes."""
