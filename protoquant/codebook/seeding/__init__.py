"""Seeding: where the codes start."""
