"""The space in which patch tokens are compared with codes: of one layer of the backbone, or of several joined."""
