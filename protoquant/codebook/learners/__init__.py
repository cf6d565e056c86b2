"""Learners: what moves the codes after seeding."""
