"""Runs the learner that the params section names over all train tokens."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.learners.ema import ema
from protoquant.codebook.learners.gradient import gradient
from protoquant.codebook.learners.kmeans import CodebookEpoch, kmeans
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import FlatSource
from protoquant.core.seeding import torch_generator


def learn(
    config: QuantizeConfig,
    source: FlatSource,
    codes: Float[Tensor, "k d"],
    norm: FeatureNorm,
    head: TaskHead,
    *,
    seed: int,
) -> Iterator[CodebookEpoch]:
    """Run the learner.

    Args:
        config: The params section; without epochs the codes stay where seeding put them.
        source: Train tokens, including those of augmented views.
        codes: Initial codes (k, d).
        norm: Map from tokens to the space of the codes.
        head: The frozen task head, for the learner ``gradient``.
        seed: The seed of params.yaml.

    Yields:
        One record per pass; the codes of the last are the result, of any length with ``gradient`` and with the
        metric ``euclidean``.
    """
    if config.epochs == 0:
        return
    generator = torch_generator(seed, "quantize", config.learner)
    if config.gradient is not None:
        yield from gradient(
            source,
            codes,
            norm,
            head,
            config.gradient,
            metric=config.metric,
            epochs=config.epochs,
            batch=config.batch,
            generator=generator,
        )
    elif config.ema is not None:
        yield from ema(
            source,
            codes,
            norm,
            config.ema,
            metric=config.metric,
            epochs=config.epochs,
            batch=config.batch,
            generator=generator,
        )
    else:
        yield from kmeans(
            source,
            codes,
            norm,
            metric=config.metric,
            epochs=config.epochs,
            batch=config.batch,
            update=config.update,
            tolerance=config.tolerance,
            generator=generator,
        )
