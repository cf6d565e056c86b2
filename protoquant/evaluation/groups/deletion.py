"""Deletion and insertion over prototypes, from stored presence and the head alone."""

import numpy as np

from protoquant.evaluation.metrics.deletion import CURVES, delete_and_insert
from protoquant.evaluation.subject import Measured, Subject

TABLE = "deletion.csv"


def measure(subject: Subject, split: str) -> Measured:
    """Take from every image the prototypes of its answer, put them back, and compare with a random order."""
    seen = subject.sightings(split)
    found = delete_and_insert(seen.image_ids, seen.labels, seen.scores, subject.head, subject.seed)
    areas = {name: found.area(name) for name in CURVES}
    values = areas | {
        "deletion_gain": areas["deletion_random"] - areas["deletion"],
        "insertion_gain": areas["insertion"] - areas["insertion_random"],
    }
    numbers = {name: subject.estimate(f"deletion-{name}", np.asarray(part)) for name, part in values.items()}
    return Measured(numbers, {TABLE: found.table()})
