"""QUANTIZE: from patch tokens to a codebook, and the linear probe beside it."""
