"""How partbirds are painted: shapes, colours, the parts of a bird and what is around it."""
