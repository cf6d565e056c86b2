"""partbirds: the embedded dataset, a procedural renderer of fine-grained birds."""
