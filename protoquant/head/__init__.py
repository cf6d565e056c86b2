"""TRAIN: from presence scores to a sparse non-negative head, and the bundle."""
