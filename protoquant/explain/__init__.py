"""VISUALIZE: pictures of evidence and the self-contained report."""
