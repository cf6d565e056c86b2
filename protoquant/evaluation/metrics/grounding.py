"""Grounding: how close prototypes are to real patches, and how far training moved them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.patches import read_patches
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle
from protoquant.model.grounded import furthest

PROTOTYPES = "prototypes.csv"
NEAR = 0.9
"""A prototype counts as near to a patch above this cosine."""


@dataclass(frozen=True)
class GroundingNumbers:
    """Cosines over prototypes.

    Attributes:
        prototypes: Number of prototypes.
        nearest_mean: Mean cosine of a prototype with its nearest train patch; 1 where each prototype is a patch.
        nearest_min: Smallest of these cosines.
        near_share: Share of prototypes with a train patch above a cosine of 0.9, in [0, 1].
        patches_mean: Mean cosine with all patches that the bundle names for a prototype.
        drift_mean: Mean cosine of a code as written by quantize with the same code in the bundle; 1 where none moved,
            None where the bundle has another number of codes.
        drift_min: Smallest of these cosines.
    """

    prototypes: int
    nearest_mean: float
    nearest_min: float
    near_share: float
    patches_mean: float
    drift_mean: float | None
    drift_min: float | None


def prototype_table(bundle: Bundle, learned: Codebook) -> pd.DataFrame:
    """The grounding of every prototype.

    Args:
        bundle: The model; its provenance holds the nearest train patches.
        learned: The codebook as quantize wrote it.

    Returns:
        One row for each prototype: code, image_id, row, col (of its nearest train patch), nearest (cosine with it),
        patches (mean cosine with all patches that the bundle names), drift (cosine of the learned code with the
        bundle's; missing where codes were removed from the bundle, so that indices no longer match).
    """
    same = learned.codes.shape == bundle.codebook.codes.shape
    drift = (
        _cosines(learned.codes.numpy(), bundle.codebook.codes.numpy()) if same else np.full(bundle.codebook.k, np.nan)
    )
    patches = bundle.provenance.groupby("code", sort=True)["cosine"]
    rows = bundle.provenance.loc[patches.idxmax()]
    return pd.DataFrame(
        {
            "code": rows["code"].to_numpy(),
            "image_id": rows["image_id"].to_numpy(),
            "row": rows["row"].to_numpy(),
            "col": rows["col"].to_numpy(),
            "nearest": rows["cosine"].to_numpy(dtype=np.float64),
            "patches": patches.mean().to_numpy(dtype=np.float64),
            "drift": drift[rows["code"].to_numpy()],
        }
    )


def mixture_gap(bundle: Bundle, train: FeatureStore) -> tuple[int, float]:
    """The prototype that differs most from the mixture of its patches, and by how much in any number.

    Unlike the check of an opened bundle, this one also holds where the bundle keeps no patches, and shows that those it
    keeps are the patches of the images that it names.

    Args:
        bundle: A model whose codes are mixtures.
        train: The features that it was trained on.
    """
    rows = bundle.provenance[bundle.provenance["weight"] > 0]
    positions = {image_id: position for position, image_id in enumerate(train.image_ids)}
    images = torch.tensor([positions.get(image_id, -1) for image_id in rows["image_id"]])
    cells = torch.from_numpy((rows["row"] * bundle.grid[1] + rows["col"]).to_numpy(dtype=np.int64))
    units = read_patches(train, bundle.codebook.norm, images[:, None], cells[:, None])[:, 0]
    found = furthest(bundle.codebook, bundle.provenance, units)
    if found is None:
        raise ValueError("only codes that are mixtures have patches with a weight")
    return found


def grounding_numbers(table: pd.DataFrame) -> GroundingNumbers:
    """Summarise the table.

    Args:
        table: Table from :func:`prototype_table`, with at least one row.
    """
    drift = table["drift"].dropna()
    return GroundingNumbers(
        prototypes=len(table),
        nearest_mean=float(table["nearest"].mean()),
        nearest_min=float(table["nearest"].min()),
        near_share=float((table["nearest"] > NEAR).mean()),
        patches_mean=float(table["patches"].mean()),
        drift_mean=None if drift.empty else float(drift.mean()),
        drift_min=None if drift.empty else float(drift.min()),
    )


def _cosines(first: Float[np.ndarray, "k d"], second: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """Cosine of each pair of rows, in float64, so that equal rows have 1."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines: Float[np.ndarray, " k"] = (one * other).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines.clip(-1.0, 1.0)
