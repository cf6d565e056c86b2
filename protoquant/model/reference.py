"""Measurements of a finished model on its own images, the yardstick for later versions and for new images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.usage import UsageCounter
from protoquant.core.artifacts import (
    load_tensors,
    read_json,
    read_table,
    rounded,
    save_tensors,
    write_json,
    write_table,
)
from protoquant.core.errors import ArtifactError
from protoquant.core.events import OnEvent
from protoquant.core.lazy_fields import later, may_come_later
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.model.head import head_logits
from protoquant.model.presence import look

if TYPE_CHECKING:
    import pandas as pd

ANSWERS, PRESENCE, REFERENCE = "validation.parquet", "presence.safetensors", "reference.json"
FILES = (ANSWERS, PRESENCE, REFERENCE)
BINS = 20
"""Equally wide bins of presence, from 0 to 1."""
SEEN = 0.5
"""A prototype counts as seen from this presence: it has half of some cell, so no other code has more of that cell."""
_COLUMNS = ["image_id", "label", "predicted", "probability", "logit"]
_SPLITS = ("train", "validation")


@may_come_later("answers")
@dataclass(frozen=True)
class Reference:
    """Measurements of a model on its own train and validation images.

    Attributes:
        answers: One row for each validation image: image_id, label, predicted, probability, logit (the largest).
        prototypes: The codes that the head uses, in order.
        presence: Number of images by prototype and bin of presence (p, bins), for train and validation.
        abstain_below: The model abstains if its largest logit is below this threshold; None: it never abstains.
        codebook: Codebook health over all validation tokens, by name.
    """

    answers: pd.DataFrame
    prototypes: tuple[int, ...]
    presence: Mapping[str, Int[np.ndarray, "p b"]]
    abstain_below: float | None
    codebook: Mapping[str, float]

    def seen(self, split: str) -> Float[np.ndarray, " p"]:
        """Share of the split's images in which each prototype is seen, in [0, 1]."""
        counts = self.presence[split]
        share: Float[np.ndarray, " p"] = counts[:, round(SEEN * BINS) :].sum(axis=1) / counts.sum(axis=1)
        return share

    def save(self, folder: Path) -> None:
        """Write the three files of the reference into a bundle that is being written."""
        write_table(folder / ANSWERS, self.answers)
        save_tensors(folder / PRESENCE, {name: torch.from_numpy(self.presence[name]) for name in _SPLITS})
        plain = {
            "abstain_below": self.abstain_below,
            "codebook": rounded(dict(self.codebook)),
            "prototypes": list(self.prototypes),
        }
        write_json(folder / REFERENCE, plain)

    @classmethod
    def open(cls, folder: Path, prototypes: tuple[int, ...], classes: int, *, tables: bool = True) -> Reference:
        """Read what :meth:`save` wrote.

        Args:
            folder: The bundle's folder; the caller verifies its digests.
            prototypes: The codes that the bundle's head uses.
            classes: Number of classes.
            tables: Whether to read the table of answers now rather than on first use.

        Raises:
            ArtifactError: A file is damaged or belongs to another head.
        """
        answers = partial(_read_answers, folder, classes)
        table, plain = answers() if tables else later(answers), read_json(folder / REFERENCE)
        presence = {name: tensor.numpy() for name, tensor in load_tensors(folder / PRESENCE).items()}
        if not isinstance(plain, dict) or set(plain) != {"abstain_below", "codebook", "prototypes"}:
            raise _of_another(folder)
        shape = (len(prototypes), BINS)
        if plain["prototypes"] != list(prototypes) or {n: v.shape for n, v in presence.items()} != dict.fromkeys(
            _SPLITS, shape
        ):
            raise _of_another(folder)
        return cls(table, prototypes, presence, plain["abstain_below"], plain["codebook"])


def _read_answers(folder: Path, classes: int) -> pd.DataFrame:
    table = read_table(folder / ANSWERS)
    if list(table.columns) != _COLUMNS or not set(table["label"]) | set(table["predicted"]) <= set(range(classes)):
        raise _of_another(folder)
    return table


def _of_another(folder: Path) -> ArtifactError:
    return ArtifactError(f"{folder} holds a reference of another model; run train again")


@dataclass(frozen=True)
class _SplitStatistics:
    """Logits (n, c), images by prototype and bin of presence (p, bins), and code usage of all tokens of a split."""

    logits: Float[np.ndarray, "n c"]
    presence: Int[np.ndarray, "p b"]
    usage: UsageCounter


def measure_reference(
    codebook: Codebook,
    head: Float[Tensor, "c k"],
    temperature: float,
    *,
    train: FeatureStore,
    validation: FeatureStore,
    abstain_share: float,
    batch: int,
    device: torch.device,
    on_event: OnEvent,
) -> Reference:
    """Measure a finished model on its own images.

    Args:
        codebook: The model's codes.
        head: The model's weights, >= 0.
        temperature: Temperature of the softmax over codes.
        train: Features of the train split.
        validation: Features of the validation split; they fit the threshold of abstention.
        abstain_share: Share of correctly answered validation images that may fall below the threshold; 0: no threshold.
        batch: Images per batch.
        device: Device to compute on.
        on_event: Receives progress.

    Raises:
        DataError: A token holds NaN or infinity.
    """
    prototypes = (head > 0).any(dim=0).nonzero().flatten()
    model = codebook.to(device), head.cpu().double(), temperature, prototypes
    seen = {
        name: _look_at(store, *model, batch=batch, label=f"reference, {name}", on_event=on_event)
        for name, store in (("train", train), ("validation", validation))
    }
    answers = _answers(seen["validation"].logits, validation)
    right = answers.loc[answers["label"] == answers["predicted"], "logit"].to_numpy()
    return Reference(
        answers,
        tuple(prototypes.tolist()),
        {name: one.presence for name, one in seen.items()},
        threshold(right, abstain_share),
        seen["validation"].usage.health().numbers(),
    )


def threshold(evidence: Float[np.ndarray, " n"], share: float) -> float | None:
    """Choose a threshold of evidence so that at most a share of images lies below it.

    Args:
        evidence: Largest logits of correctly answered images.
        share: Share of images that may lie below, in [0, 1).

    Returns:
        One of the given values; None if the share is 0 or there are no values.
    """
    if share == 0.0 or not len(evidence):
        return None
    return float(np.sort(evidence)[floor(share * len(evidence))])


def _answers(logits: Float[np.ndarray, "n c"], store: FeatureStore) -> pd.DataFrame:
    import pandas as pd

    predicted = logits.argmax(axis=1)
    largest = logits.max(axis=1)
    probability = 1.0 / np.exp(logits - largest[:, None]).sum(axis=1)
    return pd.DataFrame(
        {
            "image_id": list(store.image_ids),
            "label": store.labels.numpy().astype(np.int64),
            "predicted": predicted.astype(np.int64),
            "probability": probability.round(6),
            "logit": largest.round(6),
        }
    )


def _look_at(
    store: FeatureStore,
    codebook: Codebook,
    head: Float[Tensor, "c k"],
    temperature: float,
    prototypes: Int[Tensor, " p"],
    *,
    batch: int,
    label: str,
    on_event: OnEvent,
) -> _SplitStatistics:
    usage = UsageCounter(codebook.k)
    counts = np.zeros((len(prototypes), BINS), dtype=np.int64)
    rows = np.arange(len(prototypes)) * BINS
    logits = []
    for tokens in stream_tokens(store, batch, codebook.codes.device, label=label, on_event=on_event):
        seen = look(tokens, codebook, temperature)
        cosines, nearest = seen.similarity.max(dim=-1)
        usage.add(nearest.cpu(), cosines.cpu())
        scores = seen.pooled().scores.cpu()
        bins = (scores[:, prototypes].numpy() * BINS).astype(np.int64).clip(0, BINS - 1)
        counts += np.bincount((bins + rows).ravel(), minlength=counts.size).reshape(counts.shape)
        logits.append(head_logits(scores.double(), head).numpy())
    return _SplitStatistics(np.concatenate(logits), counts, usage)
