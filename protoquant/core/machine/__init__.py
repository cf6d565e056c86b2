"""The machine that work runs on: processors, memory, disk."""
