"""Sizes and sparsity as public code counts them, to hold a model against published tables."""

from dataclasses import asdict

from protoquant.evaluation.metrics.compactness import public_sizes
from protoquant.evaluation.subject import Measured, Subject


def measure(subject: Subject, split: str) -> Measured:
    """Count from stored presence and the head."""
    seen = subject.sightings(split)
    weights, images = public_sizes(seen.scores, subject.head, seen.labels)
    return Measured(
        asdict(weights) | {name: subject.estimate(f"sizes-{name}", found) for name, found in images.items()}
    )
