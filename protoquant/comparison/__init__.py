"""Two models side by side: their answers, their numbers, their prototypes."""
