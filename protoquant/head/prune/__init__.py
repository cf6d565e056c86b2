"""PRUNE: fewer prototypes or fewer weights in a trained head, by a plan."""
