"""Requests over HTTP: who is let in, what is read of them, what is recorded."""
