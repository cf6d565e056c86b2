"""Paints partbirds: shapes, colours, the parts of a bird and its surroundings."""
