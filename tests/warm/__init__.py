"""Commands that start at once: a process that has the heavy packages imported forks for each of them."""
