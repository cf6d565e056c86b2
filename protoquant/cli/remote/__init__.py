"""Verbs of what lies on servers: registry, tracker, object store."""
