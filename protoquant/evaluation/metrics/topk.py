"""Accuracy with only the k largest weights of each class.

In mode ``mask`` all codes stay in the softmax, so a class's score changes through its own weights alone. In mode
``compact`` the codes that no class keeps leave the softmax, and presence is computed anew from the tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protoquant.codebook.competition import competition, pooled
from protoquant.core.events import OnEvent
from protoquant.evaluation.metrics.compactness import local_size
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.model.bundle import Bundle

Mode = Literal["mask", "compact"]
KS = (1, 3, 5, 8, 10, 15, 20, 30, 50)
"""Weights per class of the published curves; the area is over their range."""


def limited(head: Float[np.ndarray, "c k"], most: int) -> Float[np.ndarray, "c k"]:
    """A head of the largest weights of each class, the lower code where two are equal; all others are 0.

    Args:
        head: Non-negative weights.
        most: Weights that a class keeps, at least 1; a class with fewer keeps them all.
    """
    order = np.argsort(-head, axis=1, kind="stable")[:, :most]
    kept = np.zeros_like(head)
    np.put_along_axis(kept, order, np.take_along_axis(head, order, axis=1), axis=1)
    return kept


def limits(head: Float[np.ndarray, "c k"]) -> tuple[int, ...]:
    """The ``KS`` that change the head, then the size of its largest class, which leaves it as it is."""
    largest = max(1, int((head > 0).sum(axis=1).max()))
    return (*(k for k in KS if k < largest), largest)


@dataclass(frozen=True)
class Answers:
    """Answers of n images at r limits.

    Attributes:
        predicted: The class of the largest score (n, r); the lower index on a tie.
        local: Prototypes that speak for that class (n, r).
    """

    predicted: Int[np.ndarray, "n r"]
    local: Int[np.ndarray, "n r"]


def masked_answers(
    scores: Float[np.ndarray, "n k"], head: Float[np.ndarray, "c k"], ks: Sequence[int], epsilon: float
) -> Answers:
    """Answer with limited heads from presence as it is.

    Args:
        scores: Presence of every code.
        head: Non-negative weights.
        ks: The limits.
        epsilon: Contribution above which a prototype speaks for a class.
    """
    heads = [limited(head, k) for k in ks]
    return _joined([[_answer(seen, kept, epsilon) for kept in heads] for seen in scores])


def compact_answers(
    store: FeatureStore,
    bundle: Bundle,
    ks: Sequence[int],
    *,
    epsilon: float,
    device: torch.device,
    on_event: OnEvent,
) -> Answers:
    """Answer with limited heads from presence among the codes that they keep, in one pass over the tokens.

    Images are scored one at a time, so no number depends on the images beside it. Rest codes of a pruned model leave
    the softmax too.

    Args:
        store: Features of a split.
        bundle: The model.
        ks: The limits.
        epsilon: Contribution above which a prototype speaks for a class.
        device: Device to compute on.
        on_event: Receives progress after each image.
    """
    codebook, head = bundle.codebook.to(device), bundle.head.double().numpy()
    heads = [limited(head, k) for k in ks]
    used = [np.flatnonzero((kept > 0).any(axis=0)) for kept in heads]
    choices = [(kept[:, codes], torch.from_numpy(codes).to(device)) for kept, codes in zip(heads, used, strict=True)]
    found = []
    with torch.inference_mode():
        for tokens in stream_tokens(store, 1, device, label=f"top-k, {store.path.name}", on_event=on_event):
            cosines = codebook.similarity(tokens)
            found.append(
                [_answer(_among(cosines, codes, bundle.temperature), kept, epsilon) for kept, codes in choices]
            )
    return _joined(found)


def topk_table(
    head: Float[np.ndarray, "c k"], ks: Sequence[int], labels: Int[np.ndarray, " n"], answers: Mapping[Mode, Answers]
) -> pd.DataFrame:
    """One row per mode and limit.

    Returns:
        mode, k, n, top1, prototypes (that any class keeps), class_size (mean weights of a class), local_size (mean
        prototypes that speak for the predicted class).
    """
    kept = [limited(head, k) > 0 for k in ks]
    rows = [
        {
            "mode": mode,
            "k": k,
            "n": len(labels),
            "top1": (found.predicted[:, place] == labels).mean(),
            "prototypes": int(kept[place].any(axis=0).sum()),
            "class_size": kept[place].sum(axis=1).mean(),
            "local_size": found.local[:, place].mean(),
        }
        for mode, found in answers.items()
        for place, k in enumerate(ks)
    ]
    return pd.DataFrame(rows)


def area_over_log_k(ks: Sequence[int], values: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " n"]:
    """Mean height of a curve over ln k from 1 to the last of ``KS``: comparable between models of any size.

    Args:
        ks: Increasing limits; the first is 1. Beyond the last, nothing changes any more.
        values: One curve per item.
    """
    end = float(np.log(KS[-1]))
    places = np.log(np.array(ks, dtype=np.float64))
    inside = places < end
    at_end = np.array([np.interp(end, places, one) for one in values])
    places, values = np.append(places[inside], end), np.column_stack([values[:, inside], at_end])
    area: Float[np.ndarray, " n"] = np.trapezoid(values, places, axis=1) / end
    return area


def _among(cosines: Tensor, codes: Tensor, temperature: float) -> Float[np.ndarray, " m"]:
    """Presence in one image where only some codes are in the softmax."""
    found: Float[np.ndarray, " m"] = pooled(competition(cosines[..., codes], temperature))[0].cpu().numpy()
    return found


def _answer(scores: Float[np.ndarray, " k"], head: Float[np.ndarray, "c k"], epsilon: float) -> tuple[int, int]:
    seen = scores.astype(np.float64)
    label = int((head @ seen).argmax())
    return label, local_size(seen * head[label], epsilon)


def _joined(found: list[list[tuple[int, int]]]) -> Answers:
    both = np.array(found, dtype=np.int64)
    return Answers(both[..., 0], both[..., 1])
