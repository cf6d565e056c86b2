"""Solvers, which fit the weights of a head to presence scores."""
