"""Solvers: how the weights of a head are fitted to presence scores."""
