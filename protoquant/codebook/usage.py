"""Measures how well a codebook covers tokens: usage, perplexity, and the error of replacing tokens by codes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.distributed.ranks import sum_over_ranks, totals_over_ranks


@dataclass(frozen=True)
class CodebookHealth:
    """Usage and error of a codebook over a set of tokens.

    Attributes:
        tokens: Number of tokens.
        usage: Share of codes that are nearest to at least one token, in [0, 1].
        dead_share: Share of the other codes, 1 - usage.
        perplexity: exp of the entropy of the tokens' distribution over codes, in [1, k].
        normalised_perplexity: perplexity / k, in (0, 1].
        gini: Gini coefficient: 0 if all codes are used equally, (k - 1) / k if one has all tokens.
        min_usage: Smallest number of tokens of a code.
        median_usage: Median number of tokens of a code; the lower of the two middle ones if k is even.
        max_usage: Largest number of tokens of a code.
        top_share: Share of the tokens held by the most used tenth of the codes, rounded up to whole codes.
        quantization_error: Mean of 1 - cosine with the nearest code, in [0, 2].
        relative_error: Share of the tokens' energy that no scaling of their code explains: mean of
            1 - cosine squared, in [0, 1].
    """

    tokens: int
    usage: float
    dead_share: float
    perplexity: float
    normalised_perplexity: float
    gini: float
    min_usage: int
    median_usage: int
    max_usage: int
    top_share: float
    quantization_error: float
    relative_error: float

    def numbers(self) -> dict[str, float]:
        """All numbers by name."""
        return asdict(self)


class UsageCounter:
    """Counts assignments batch by batch, in memory for k numbers.

    Args:
        k: Number of codes.
    """

    def __init__(self, k: int) -> None:
        self._counts = torch.zeros(k, dtype=torch.int64)
        self._error = 0.0
        self._residual = 0.0

    @property
    def counts(self) -> Int64[Tensor, " k"]:
        """Number of tokens of each code so far."""
        return self._counts.clone()

    @classmethod
    def join(cls, parts: Sequence["UsageCounter"]) -> "UsageCounter":
        """Concatenate the counts of codebooks that were used by different tokens.

        Args:
            parts: One counter for each codebook, at least one.
        """
        whole = cls(0)
        whole._counts = torch.cat([part._counts for part in parts])  # noqa: SLF001 - the same class
        whole._error = sum(part._error for part in parts)  # noqa: SLF001
        whole._residual = sum(part._residual for part in parts)  # noqa: SLF001
        return whole

    def add(self, indices: Int64[Tensor, "*any"], similarities: Float[Tensor, "*any"]) -> None:
        """Count one batch of assignments.

        Args:
            indices: Nearest code of each token, in [0, k).
            similarities: Cosine with that code, of the same shape.
        """
        self._counts += torch.bincount(indices.flatten(), minlength=len(self._counts)).cpu()
        cosine = similarities.to(torch.float64)
        self._error += float((1.0 - cosine).sum())
        self._residual += float((1.0 - cosine.square()).sum())

    def over_ranks(self) -> "UsageCounter":
        """Sum the counts over all processes of a distributed run."""
        whole = UsageCounter(len(self._counts))
        whole._counts = sum_over_ranks(self._counts)
        whole._error, whole._residual = totals_over_ranks(self._error, self._residual)
        return whole

    def health(self) -> CodebookHealth:
        """Turn the counts into numbers.

        Raises:
            ValueError: Nothing was counted.
        """
        total = int(self._counts.sum())
        if total == 0:
            raise ValueError("usage of no tokens is not defined; add a batch first")
        k = len(self._counts)
        usage = int((self._counts > 0).sum()) / k
        perplexity = perplexity_of(self._counts)
        return CodebookHealth(
            tokens=total,
            usage=usage,
            dead_share=1.0 - usage,
            perplexity=perplexity,
            normalised_perplexity=perplexity / k,
            gini=gini_of(self._counts),
            min_usage=int(self._counts.min()),
            median_usage=int(self._counts.median()),
            max_usage=int(self._counts.max()),
            top_share=int(self._counts.topk(-(-k // 10)).values.sum()) / total,
            quantization_error=self._error / total,
            relative_error=self._residual / total,
        )


def perplexity_of(counts: Int64[Tensor, " k"]) -> float:
    """Effective number of codes in use: exp of the entropy of the counts.

    Args:
        counts: Number of tokens of each code, not all zero.

    Returns:
        k if all counts are equal, 1 if one code has all tokens.
    """
    shares = counts[counts > 0].to(torch.float64) / float(counts.sum())
    return float(torch.exp(-(shares * shares.log()).sum()))


def gini_of(counts: Int64[Tensor, " k"]) -> float:
    """Inequality of the counts: 1 minus twice the area under their Lorenz curve.

    Args:
        counts: Number of tokens of each code, not all zero.

    Returns:
        0 if all counts are equal, (k - 1) / k if one code has all tokens.
    """
    k = len(counts)
    ordered = counts.sort().values.to(torch.float64)
    ranks = torch.arange(1, k + 1, dtype=torch.float64, device=counts.device)
    return float(2.0 * (ranks * ordered).sum() / (k * ordered.sum()) - (k + 1) / k)
