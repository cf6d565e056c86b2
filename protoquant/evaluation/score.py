"""The one pass over the test split: logits, contributions and codebook usage of every image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.usage import CodebookHealth, UsageCounter
from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.model.contributions import Contributions
from protoquant.model.head import head_logits
from protoquant.model.presence import Presence, look


@dataclass(frozen=True)
class LogitScorer:
    """Everything that turns patch tokens into logits, on one device.

    Attributes:
        codebook: The codes of the bundle.
        head: Non-negative weights (c, k).
        temperature: Temperature of the softmax over codes.
        probe: The yardstick: a linear probe on mean-pooled tokens.
        device: Device to compute on.
    """

    codebook: Codebook
    head: Float[Tensor, "c k"]
    temperature: float
    probe: LinearProbe
    device: torch.device


@dataclass(frozen=True)
class EvaluationScores:
    """Results of the pass, in the order of the store.

    Attributes:
        logits: Class scores of the model (n, c).
        probe_logits: Class scores of the linear probe (n, c).
        ledger: One row per non-zero contribution to the predicted class, and to the true class where it differs:
            image (position in the store), class, code, score, weight, contribution, row, col; largest first.
        health: Codebook health over all test patch tokens.
    """

    logits: Float[np.ndarray, "n c"]
    probe_logits: Float[np.ndarray, "n c"]
    ledger: pd.DataFrame
    health: CodebookHealth


def score(store: FeatureStore, scorer: LogitScorer, on_event: OnEvent) -> EvaluationScores:
    """Score every image of a store, one at a time.

    An image is computed alone, so its numbers depend neither on the shard nor on the images beside it; with 49
    tokens or more, an image is a large enough matrix to keep the processor busy.

    Args:
        store: Features of the test split; read one shard at a time.
        scorer: The model and the probe.
        on_event: Receives progress after each image.

    Returns:
        Logits, contributions and codebook health.

    Raises:
        DataError: The store holds no image.
    """
    if store.n == 0:
        raise DataError(f"{store.path} holds no test image; check the test share of prepare")
    counter, head = UsageCounter(scorer.codebook.k), scorer.head.cpu().double()
    logits: list[Float[Tensor, "1 c"]] = []
    probe_logits: list[Float[Tensor, "1 c"]] = []
    rows: list[dict[str, np.ndarray]] = []
    images = stream_tokens(store, 1, scorer.device, label="evaluate", on_event=on_event)
    for position, tokens in enumerate(images):
        seen = look(tokens, scorer.codebook, scorer.temperature)
        found = seen.pooled()
        # In float64 on the CPU, as in Model.predict: contributions must sum to the logit in any order.
        scores = found.scores.cpu().double()
        own = head_logits(scores, head)
        cosines, nearest = seen.similarity.max(dim=-1)
        counter.add(nearest.cpu(), cosines.cpu())
        logits.append(own)
        probe_logits.append(scorer.probe.of_images(tokens).cpu())
        # numpy's argmax takes the lower index on a tie, as rank() does.
        classes = dict.fromkeys([int(np.argmax(logits[-1].numpy())), int(store.labels[position])])
        rows += [_ledger(position, label, found, head, store.grid[1]) for label in classes]
    ledger = pd.DataFrame({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    return EvaluationScores(torch.cat(logits).numpy(), torch.cat(probe_logits).numpy(), ledger, counter.health())


def _ledger(
    position: int, label: int, found: Presence, head: Float[Tensor, "c k"], columns: int
) -> dict[str, np.ndarray]:
    """The non-zero contributions of one image to one class, largest first."""
    own = Contributions.to_class(found.scores[0], found.cells[0], head[label], columns)
    image, class_ = (np.full(len(own.code), number, dtype=np.int64) for number in (position, label))
    return {"image": image, "class": class_, **vars(own)}
