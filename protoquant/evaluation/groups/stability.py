"""Stability of answers and explanations under small changes of the image."""

from protoquant.evaluation.metrics.stability import MEASURES, STABILITY, measure_stability
from protoquant.evaluation.subject import GroupResult, Subject


def measure(subject: Subject, split: str) -> GroupResult:
    """Change images drawn from the split, and compare the explanations."""
    found = measure_stability(
        subject.bundle,
        subject.backbone,
        subject.images_of(split),
        subject.drawn(split, subject.config.stability_images, "stability"),
        epsilon=subject.config.epsilon,
        seed=subject.seed,
        label=f"stability, {split}",
        on_event=subject.on_event,
    )
    numbers = {name: subject.estimate(f"stability-{name}", found.of_images(name)) for name in MEASURES}
    return GroupResult(numbers, {STABILITY: found.table()})
