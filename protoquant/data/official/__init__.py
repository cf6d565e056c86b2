"""Sets that are published with a test split: their files, whether a copy is whole, what becomes of its test images."""
