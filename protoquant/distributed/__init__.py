"""How the work of a step is spread: over the processes of this machine, or over a Ray cluster."""
