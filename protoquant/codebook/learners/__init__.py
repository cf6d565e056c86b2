"""Learners, which move the codes after seeding."""
