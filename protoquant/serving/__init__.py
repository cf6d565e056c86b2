"""A model in use: over HTTP, and over a folder of images."""
