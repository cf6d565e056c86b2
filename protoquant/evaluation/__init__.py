"""EVALUATE: the numbers of a bundle on the test split, which only this package opens."""
