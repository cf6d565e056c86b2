"""Makes codes of the kind that ``train.codes`` names, before any head is fitted to them."""

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.mixture import with_mixtures
from protoquant.codebook.tokens import TokenSource
from protoquant.head.config import TrainConfig


def of_kind(config: TrainConfig, codebook: Codebook, source: TokenSource) -> Codebook:
    """Free codes as they are; for mixtures the codebook of their mixtures.

    Args:
        config: The section of train.
        codebook: Codes as learned, on the device to compute on.
        source: The images that the codes were learned on, whose patches are mixed.
    """
    if config.mixture is None:
        return codebook
    return with_mixtures(
        codebook,
        source,
        patches=config.mixture.patches,
        temperature=config.mixture.temperature,
        batch=config.batch,
    )


def few_patches(config: TrainConfig, codebook: Codebook, source: TokenSource, classes: tuple[str, ...]) -> str | None:
    """A line that says which classes have fewer images than a mixture may have patches; None if none has."""
    if config.mixture is None or codebook.class_of_code is None:
        return None
    counts = source.labels.bincount(minlength=len(classes))
    label = int(counts.argmin())
    least, wanted = int(counts[label]), config.mixture.patches
    if least >= wanted:
        return None
    few = int((counts < wanted).sum())
    return (
        f"train.mixture.patches is {wanted}, and {few} of {len(classes)} classes have fewer train images, the fewest "
        f"{classes[label]!r} with {least}: a code is made of at most as many patches"
    )
