"""Accuracy with the k largest weights of each class, with all codes in the softmax and with the kept ones alone."""

from typing import Any

import numpy as np

from protoquant.evaluation.metrics.topk import (
    Answers,
    Mode,
    area_over_log_k,
    compact_answers,
    limits,
    masked_answers,
    topk_table,
)
from protoquant.evaluation.subject import Measured, Subject

TABLE = "topk.csv"


def measure(subject: Subject, split: str) -> Measured:
    """Answer with limited heads; nothing is fitted again."""
    seen, head, epsilon = subject.sightings(split), subject.head, subject.config.epsilon
    ks = limits(head)
    answers: dict[Mode, Answers] = {
        "mask": masked_answers(seen.scores, head, ks, epsilon),
        "compact": compact_answers(
            subject.store(split), subject.bundle, ks, epsilon=epsilon, device=subject.device, on_event=subject.on_event
        ),
    }
    numbers: dict[str, Any] = {}
    for mode, found in answers.items():
        right = (found.predicted == seen.labels[:, None]).astype(np.float64)
        numbers[mode] = {
            "area": subject.estimate(f"topk-{mode}-area", area_over_log_k(ks, right)),
            "top1": {str(k): subject.estimate(f"topk-{mode}-{k}", right[:, place]) for place, k in enumerate(ks)},
        }
    return Measured(numbers, {TABLE: topk_table(head, ks, seen.labels, answers)})
