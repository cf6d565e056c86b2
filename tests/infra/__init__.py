"""The stack, one for the folder, which ends with it."""
