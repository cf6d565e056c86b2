"""EXTRACT: from images to the stored patch tokens of a frozen backbone."""
