"""Admit HTTP requests, read their images, and record them."""
