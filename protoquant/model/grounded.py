"""Checks that prototypes are the mixtures of training patches that a bundle says they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.mixture import Mixture
from protoquant.core.artifacts import load_tensors
from protoquant.core.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd

EXACT = 1e-6
"""Most that a number of a code may differ from that of the mixture of its patches."""
UNITS = "units"


def patches_of(mixture: Mixture, prototypes: list[int]) -> Float[Tensor, "r d"]:
    """The patches with a weight in some codes, largest weight first: in the order of the provenance table."""
    own = mixture.on(torch.tensor(prototypes, dtype=torch.int64))
    weights, order = own.weights.cpu().sort(dim=1, descending=True, stable=True)
    units = own.units.cpu().gather(1, order[:, :, None].expand(-1, -1, own.units.shape[2]))
    return units[weights > 0].contiguous()


def read_units(path: Path) -> Float[Tensor, "r d"]:
    """Read the patches of a bundle.

    Raises:
        ArtifactError: The file is damaged or holds something else.
    """
    tensors = load_tensors(path)
    units = tensors.get(UNITS)
    if set(tensors) != {UNITS} or units is None or units.ndim != 2 or units.dtype != torch.float32:
        raise ArtifactError(f"{path} must hold float32 {UNITS} (r, d), got {sorted(tensors)}; run train again")
    return units


def check_mixtures(codebook: Codebook, provenance: pd.DataFrame, units: Float[Tensor, "r d"], where: str) -> None:
    """Refuse a bundle whose patches and weights do not give its codes.

    Args:
        codebook: The codes.
        provenance: The table with the weight of each patch.
        units: The patches with a weight, in the order of the table.
        where: Name of the bundle in the error.

    Raises:
        ArtifactError: A code differs from the mixture of its patches by more than ``EXACT``, or their number differs.
    """
    far = furthest(codebook, provenance, units)
    if far is None:
        raise ArtifactError(f"{where} is damaged: its patches are not those of its provenance; run train again")
    code, distance = far
    if not distance <= EXACT:
        raise ArtifactError(
            f"{where} is damaged: prototype {code} differs by {distance:.2g} from the mixture of its patches; "
            f"run train again"
        )


def furthest(codebook: Codebook, provenance: pd.DataFrame, units: Float[Tensor, "r d"]) -> tuple[int, float] | None:
    """The prototype that differs most from the mixture of its patches, and by how much in any number.

    Args:
        codebook: The codes.
        provenance: The table with the weight of each patch.
        units: The patches with a weight, in the order of the table.

    Returns:
        None if patches and table do not belong together.
    """
    rows = provenance[provenance["weight"] > 0] if "weight" in provenance else provenance.iloc[:0]
    if len(rows) != len(units) or units.shape[1:] != codebook.codes.shape[1:] or not len(rows):
        return None
    owner = torch.from_numpy(rows["code"].to_numpy(copy=True))
    weights = torch.from_numpy(rows["weight"].to_numpy(copy=True)).double()
    sums = torch.zeros(codebook.codes.shape, dtype=torch.float64).index_add_(
        0, owner, weights[:, None] * units.double()
    )
    used = torch.unique(owner)
    apart = (torch.nn.functional.normalize(sums[used], dim=1) - codebook.codes.cpu()[used].double()).abs().amax(dim=1)
    worst = int(apart.argmax())
    return int(used[worst]), float(apart[worst])
