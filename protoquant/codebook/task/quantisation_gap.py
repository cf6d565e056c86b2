"""The quantisation gap: the accuracy that the task head loses when tokens are replaced by codes."""

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.learners.assignment import match
from protoquant.codebook.matching import Matcher, Metric
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.source import flat_part
from protoquant.codebook.task.quantised_mean import QuantisedMean
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import FlatSource, image_batches
from protoquant.distributed.ranks import totals_over_ranks


def quantised_top1(
    source: FlatSource,
    codes: Float[Tensor, "k d"],
    norm: FeatureNorm,
    head: TaskHead,
    *,
    batch: int,
    metric: Metric = "cosine",
    scaled: bool = True,
) -> float:
    """Accuracy of the task head on quantised maps.

    Every token is replaced by its nearest code, mapped back to the space of the backbone, and the mean of the
    map is classified. A unit code lacks the length of the tokens it stands for; ``scaled`` restores it for
    each token as the length that brings the code nearest to the token (the token's projection on it).

    Args:
        source: Tokens and labels of any split, at least one image.
        codes: Codes; of norm 1 if ``scaled``.
        norm: Map between tokens and the space of the codes.
        head: The task head.
        batch: Tokens per step, rounded down to whole images.
        metric: Metric that decides the nearest code.
        scaled: Whether each code is scaled to its best length for each token.

    Returns:
        Share of images whose label has the highest logit, in [0, 1].

    Source:
        "Quantization gap": this accuracy minus the head's accuracy on the tokens themselves.
    """
    right, matcher, part = 0, Matcher(codes, metric), flat_part(source)
    for images in image_batches(part, batch):
        tokens = part.tokens(images).to(codes)
        vectors = norm.apply(tokens)
        matched = match(vectors.flatten(0, 1), matcher, metric)
        shape = tokens.shape[:2]
        lengths = None
        if scaled:
            lengths = matched.cosines.reshape(shape) * torch.linalg.vector_norm(vectors, dim=2)
        mean = QuantisedMean.measure(
            tokens, vectors, matched.indices.reshape(shape), norm=norm, k=len(codes), lengths=lengths
        )
        found = head.of_means(mean.of(codes)).argmax(dim=1).cpu()
        right += int((found == part.labels[images]).sum())
    return totals_over_ranks(right)[0] / source.n
