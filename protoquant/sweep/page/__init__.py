"""Draws the page and the picture of a sweep."""
