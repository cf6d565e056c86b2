"""Resolves the number of codes and the class each is seeded from, and rejects impossible values before any work."""

from dataclasses import dataclass
from math import ceil, log2
from typing import get_args

from jaxtyping import Int64
from torch import Tensor

from protoquant.codebook.config import Drawn, QuantizeConfig
from protoquant.core.errors import ConfigError, DataError


@dataclass(frozen=True)
class CodebookSize:
    """The codebook's size.

    Attributes:
        k: Total number of codes that stay.
        of_class: Number of codes seeded from each class (c); None if seeding ignores classes.
        keep: Most codes of a class that stay; None: all.
    """

    k: int
    of_class: tuple[int, ...] | None
    keep: int | None = None

    @property
    def class_of_code(self) -> tuple[int, ...] | None:
        """The label that each code is seeded from (k); None if seeding ignores classes."""
        if self.of_class is None:
            return None
        kept = _kept(self.of_class, self.keep)
        return tuple(label for label, count in enumerate(kept) for _ in range(count))


def resolve_size(config: QuantizeConfig, labels: Int64[Tensor, " n"], t: int) -> CodebookSize:
    """Compute the number of codes and check it against the train tokens.

    Args:
        config: The params section.
        labels: Label of every train image.
        t: Patch tokens of an image.

    Returns:
        The size.

    Raises:
        DataError: A class below the highest label has no train image, or there is only one class.
        ConfigError: There are more codes than train tokens, than a class has tokens, or than seeding may draw from;
            fewer codes than classes if every class must have one; or too few passes to separate equal initial codes.
    """
    counts = labels.bincount().tolist()
    if len(counts) < 2 or 0 in counts:
        empty = counts.index(0) if 0 in counts else len(counts)
        raise DataError(f"train must hold at least 2 classes, each with an image; class {empty} has none; run prepare")
    c = len(counts)
    k = config.size * c if config.size_unit == "class" else config.size
    tokens, written = len(labels) * t, _written(config, c)
    if k > tokens:
        most = tokens // c if config.size_unit == "class" else tokens
        raise ConfigError(
            f"quantize.size must be <= {most:,} for {tokens:,} train tokens, got {written} (params.yaml); "
            f"lower quantize.size"
        )
    if config.seeding != "class_aware":
        if config.seeding == "constant":
            _check_parting(config, k)
        if config.seeding not in get_args(Drawn):
            _check_draw(config, k)
        return CodebookSize(k, None)
    if k < c:
        raise ConfigError(
            f"quantize.size must be >= {c} (one code for each class) with seeding class_aware, got {written} "
            f"(params.yaml); raise quantize.size or choose seeding kmeans++"
        )
    of_class = tuple(k // c + (label < k % c) for label in range(c))
    cells = typical_cells(config.seeding_share, t)
    for label, (codes, images) in enumerate(zip(of_class, counts, strict=True)):
        if codes > images * cells:
            raise ConfigError(
                f"quantize.size must be <= {images * cells:,} for each class: class {label} has {images} train "
                f"images, of {cells} tokens with seeding_share {config.seeding_share:g}, got {codes:,} (params.yaml); "
                f"lower quantize.size or raise quantize.seeding_share"
            )
    _check_draw(config, max(of_class))
    return CodebookSize(sum(_kept(of_class, config.keep)), of_class, config.keep)


def _kept(of_class: tuple[int, ...], keep: int | None) -> tuple[int, ...]:
    return of_class if keep is None else tuple(min(count, keep) for count in of_class)


def typical_cells(share: float, t: int) -> int:
    """Number of an image's tokens that class-aware seeding uses.

    Args:
        share: seeding_share, in (0, 1].
        t: Patch tokens of an image.
    """
    return ceil(round(share * t, 6))


def _written(config: QuantizeConfig, c: int) -> str:
    return f"{config.size:,} x {c} classes" if config.size_unit == "class" else f"{config.size:,}"


def _check_draw(config: QuantizeConfig, codes: int) -> None:
    if codes > config.seeding_tokens:
        raise ConfigError(
            f"quantize.seeding_tokens must be >= {codes:,} codes to draw, got {config.seeding_tokens:,} (params.yaml); "
            f"raise quantize.seeding_tokens or lower quantize.size"
        )


def _check_parting(config: QuantizeConfig, k: int) -> None:
    """Check that the epochs can separate equal initial codes: a pass revives at most one code per code with tokens."""
    needed = ceil(log2(k)) + 1
    if config.epochs < needed:
        raise ConfigError(
            f"quantize.epochs must be >= {needed} with seeding constant, where all {k:,} codes start alike and a pass "
            f"at most doubles the codes with tokens, got {config.epochs} (params.yaml); raise quantize.epochs or "
            f"choose another seeding"
        )
