"""The sink: a few rest codes that stand in the softmax for all removed codes."""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import log_total, share_of
from protoquant.codebook.learners.kmeans import kmeans
from protoquant.codebook.matching import nearest
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.seeding.initialise import kmeans_plus_plus
from protoquant.codebook.tokens import TensorSource
from protoquant.core.seeding import torch_generator
from protoquant.features.tokens import PatchTokens

_EPOCHS, _TOLERANCE = 50, 1e-4
_LEAST = 1e-30


def distil(
    codebook: Codebook,
    removed: Bool[Tensor, " k"],
    count: int,
    *,
    tokens: Iterable[PatchTokens],
    temperature: float,
    seed: int,
) -> Rest | None:
    """Replace removed codes by a few rest codes, so that the sum of their exponentials stays about the same.

    The removed codes are clustered by spherical k-means. A rest code stands for its cluster with a weight that
    makes its summed share over the given tokens equal to the cluster's: at a low temperature the code nearest to a
    token dominates the sum, so the log of the cluster's size would be too large a weight. With as many rest codes as
    removed codes nothing changes.

    Args:
        codebook: All codes, without rest codes.
        removed: Whether each code is removed.
        count: Number of rest codes; at most one for each removed code is made.
        tokens: Batches of train tokens, in one pass.
        temperature: Temperature of the softmax over codes.
        seed: Seed of the plan.

    Returns:
        Rest codes; None if no code is removed.
    """
    gone = removed.nonzero().flatten()
    if len(gone) == 0:
        return None
    codes = codebook.codes[gone]
    if count >= len(gone):
        return Rest(codes, torch.zeros(len(gone), device=codes.device))
    clusters = _clusters(codes, count, seed)
    return Rest(clusters[0], _weights(codebook, gone, clusters, tokens, temperature))


def _clusters(codes: Float[Tensor, "r d"], count: int, seed: int) -> tuple[Float[Tensor, "m d"], Int64[Tensor, " r"]]:
    """Centres of at most ``count`` clusters, none empty, and the cluster of each code."""
    generator = torch_generator(seed, "prune", "sink")
    centres = kmeans_plus_plus(codes, count, generator)
    for epoch in kmeans(
        TensorSource.of_rows(codes),
        centres,
        None,
        metric="cosine",
        epochs=_EPOCHS,
        batch=len(codes),
        update="epoch",
        tolerance=_TOLERANCE,
        generator=generator,
    ):
        centres = epoch.codes
    used, of_code = torch.unique(nearest(codes, centres, "cosine")[0], return_inverse=True)
    return centres[used], of_code


def _weights(
    codebook: Codebook,
    gone: Int64[Tensor, " r"],
    clusters: tuple[Float[Tensor, "m d"], Int64[Tensor, " r"]],
    tokens: Iterable[PatchTokens],
    temperature: float,
) -> Float[Tensor, " m"]:
    """Log of (share of the cluster / share of its centre), both summed over the tokens."""
    centres, of_code = clusters
    whole = torch.zeros(len(centres), dtype=torch.float64, device=centres.device)
    centre = torch.zeros_like(whole)
    stand_in = Codebook(centres, codebook.norm)
    for batch in tokens:
        similarity = codebook.similarity(batch)
        total = log_total(similarity, temperature)
        shares, of_centres = (
            share_of(cosines, temperature, total).sum(dim=(0, 1), dtype=torch.float64)
            for cosines in (similarity[..., gone], stand_in.similarity(batch))
        )
        whole.index_add_(0, of_code, shares)
        centre += of_centres
    return (whole.clamp_min(_LEAST) / centre.clamp_min(_LEAST)).log().to(torch.float32)
