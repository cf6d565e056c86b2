"""Changes of images under which a model is measured: small ones, common corruptions, and attacks outside a box."""
