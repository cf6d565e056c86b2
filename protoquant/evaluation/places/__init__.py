"""Where prototypes look: boxes around grid cells, and the annotated parts that lie in them."""
