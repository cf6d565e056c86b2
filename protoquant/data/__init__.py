"""PREPARE: from image files to one checked table of images and splits."""
