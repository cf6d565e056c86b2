"""Chooses size and temperature of the head, and the joint epoch, by answers for images that nothing was fitted to."""
