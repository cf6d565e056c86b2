"""The bundle: the trained model on disk, with the evidence it needs to explain itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.core.artifacts import (
    artifact_digest,
    load_tensors,
    open_artifact,
    read_json,
    read_table,
    save_tensors,
    write_json,
    write_table,
)
from protoquant.core.errors import ArtifactError
from protoquant.core.lazy_fields import later, may_come_later
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.model.grounded import check_mixtures, read_units
from protoquant.model.provenance import COLUMNS, WEIGHTED, crop_name
from protoquant.model.reference import FILES, Reference

if TYPE_CHECKING:
    import pandas as pd

KIND = "bundle"
TENSORS, CARD, PROVENANCE, PATCHES, PATH, METRICS, CROPS, PRUNING, JOINT, CHOICE = (
    "tensors.safetensors",
    "model.json",
    "provenance.parquet",
    "patches.safetensors",
    "path.csv",
    "metrics.json",
    "crops",
    "pruning.csv",
    "joint.csv",
    "choice.csv",
)


class BundleCard(BaseModel):
    """The contents of ``model.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=2)
    temperature: float = Field(gt=0.0)
    feature_norm: str
    class_of_code: tuple[int, ...] | None
    grid: tuple[int, int]
    backbone: dict[str, Any]
    params: dict[str, Any]
    layers: tuple[dict[str, Any], ...] | None = None


@may_come_later("provenance")
@dataclass(frozen=True)
class Bundle:
    """A trained model.

    Attributes:
        codebook: Codes and their feature space.
        head: Weights (c, k), >= 0.
        temperature: Temperature of the softmax over codes.
        classes: Class names, index = label.
        grid: (h, w) of the finest layer of the features, in cells.
        backbone: Specification of the backbone that computed the features.
        params: The params sections that the model was made with, by stage, as plain values.
        provenance: Nearest training patches of every prototype: code, rank, image_id, label, row, col, cosine; where
            prototypes are mixtures of patches also the weight of each.
        metrics: Metrics of the model on validation.
        reference: Measurements of the finished model on its train and validation images; None before they are made,
            and in bundles of older versions.
        path: The folder it was read from; None before it is written.
        patches: The patches with a weight, as unit vectors of the codes' space, in the order of the provenance; None if
            the model has none or keeps them to itself.
    """

    codebook: Codebook
    head: Float[Tensor, "c k"]
    temperature: float
    classes: tuple[str, ...]
    grid: tuple[int, int]
    backbone: BackboneSpec
    params: Mapping[str, Any]
    provenance: pd.DataFrame
    metrics: Mapping[str, Any]
    reference: Reference | None = None
    path: Path | None = None
    patches: Float[Tensor, "r d"] | None = None

    @property
    def codes_are(self) -> Literal["free", "mixture"]:
        """The kind of the prototypes: ``mixture`` of train patches, or ``free``."""
        return "mixture" if "weight" in self.provenance else "free"

    @cached_property
    def prototypes(self) -> Int64[Tensor, " p"]:
        """The codes that the head uses, in order."""
        return _used(self.head)

    @property
    def abstain_below(self) -> float | None:
        """The model abstains if its largest logit is below this threshold; None: it never abstains."""
        return None if self.reference is None else self.reference.abstain_below

    @property
    def digest(self) -> str:
        """Digest of the bundle's content.

        Raises:
            ArtifactError: The bundle has not been written.
        """
        if self.path is None:
            raise ArtifactError("a bundle has a digest once it is written; write it first")
        return artifact_digest(self.path)

    def crop(self, code: int, rank: int) -> Path | None:
        """The picture of a training patch; None where the bundle was written without it."""
        if self.path is None:
            return None
        file = self.path / CROPS / crop_name(code, rank)
        return file if file.is_file() else None

    def save(
        self,
        folder: Path,
        candidates: pd.DataFrame,
        *,
        pruning: pd.DataFrame | None = None,
        joint: pd.DataFrame | None = None,
        choice: pd.DataFrame | None = None,
    ) -> None:
        """Write all but the pictures into a folder that :func:`core.artifacts.writing` opened.

        Args:
            folder: The folder.
            candidates: Every head of the path, one of them selected.
            pruning: Every step of the plan by which the selected head was pruned; None where it was not.
            joint: Every epoch of joint training; None without it.
            choice: Cross-fitted answers of every head of the path; None where validation chose.
        """
        save_tensors(folder / TENSORS, {**self.codebook.tensors(), "head": self.head})
        of_code = self.codebook.class_of_code
        write_json(
            folder / CARD,
            {
                "classes": list(self.classes),
                "temperature": self.temperature,
                "feature_norm": self.codebook.feature_norm,
                "class_of_code": None if of_code is None else list(of_code),
                "grid": list(self.grid),
                "backbone": self.backbone.to_dict(),
                "params": dict(self.params),
                **({} if self.codebook.layers is None else {"layers": self.codebook.layers}),
            },
        )
        write_table(folder / PROVENANCE, self.provenance)
        if self.patches is not None:
            save_tensors(folder / PATCHES, {"units": self.patches})
        if self.reference is not None:
            self.reference.save(folder)
        for name, table in ((PATH, candidates), (PRUNING, pruning), (JOINT, joint), (CHOICE, choice)):
            if table is not None:
                table.to_csv(folder / name, index=False, float_format="%.8g", lineterminator="\n")
        write_json(folder / METRICS, dict(self.metrics))

    @classmethod
    def open(cls, path: Path, *, verify: bool = True, tables: bool = True) -> Bundle:
        """Read a bundle; nothing in it is executed.

        Args:
            path: The folder that train wrote.
            verify: Also compare the digest of every file.
            tables: Whether to read the tables now rather than on first use; ``Model.predict`` never needs them.

        Raises:
            ArtifactError: The bundle is missing or damaged, or its files, tensors or keys are not those of a bundle.
        """
        manifest = open_artifact(path, KIND, verify=verify)
        _check_files(path, manifest.files)
        card = _read_card(path / CARD)
        tensors = load_tensors(path / TENSORS)
        where = str(path / TENSORS)
        if "head" not in tensors:
            raise ArtifactError(f"{where} must hold head, got {', '.join(sorted(tensors))}; run train again")
        head = tensors.pop("head")
        codebook = Codebook.from_tensors(tensors, card.feature_norm, card.class_of_code, where, card.layers)
        _check_head(head, (len(card.classes), codebook.k), where)
        prototypes = tuple(_used(head).tolist())
        provenance = partial(_read_provenance, path / PROVENANCE, prototypes)
        patches = None
        if PATCHES in manifest.files:
            patches = read_units(path / PATCHES)
            if verify:
                check_mixtures(codebook, provenance(), patches, str(path))
        reference = None
        if set(FILES) <= set(manifest.files):
            reference = Reference.open(path, prototypes, len(card.classes), tables=tables)
        return cls(
            codebook=codebook,
            head=head,
            temperature=card.temperature,
            classes=card.classes,
            grid=card.grid,
            backbone=BackboneSpec.from_dict(card.backbone),
            params=card.params,
            provenance=provenance() if tables else later(provenance),
            metrics=read_json(path / METRICS),
            reference=reference,
            path=path,
            patches=patches,
        )


def _used(head: Float[Tensor, "c k"]) -> Int64[Tensor, " p"]:
    """The codes that a head uses, in order."""
    return (head > 0).any(dim=0).nonzero().flatten()


def _check_files(path: Path, files: Mapping[str, Any]) -> None:
    needed = {TENSORS, CARD, PROVENANCE, PATH, METRICS}
    named = {name for name in files if not name.startswith(f"{CROPS}/")}
    if named - {PATCHES, PRUNING, JOINT, CHOICE, *FILES} != needed:
        raise ArtifactError(f"{path} must name {', '.join(sorted(needed))}, it names {', '.join(sorted(named))}")


def _read_card(path: Path) -> BundleCard:
    read_json(path)  # its error says whether the file is missing or not JSON
    try:
        return BundleCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"])) or "the file"
        raise ArtifactError(f"{path} is not a model card: {key}: {detail['msg']}; run train again") from error


def _check_head(head: Tensor, shape: tuple[int, int], where: str) -> None:
    if head.dtype != torch.float32 or tuple(head.shape) != shape:
        raise ArtifactError(
            f"{where}: head must be float32 {shape}, got {head.dtype} {tuple(head.shape)}; run train again"
        )
    if not bool(torch.isfinite(head).all()) or bool((head < 0).any()):
        raise ArtifactError(f"{where}: every head weight must be finite and >= 0; run train again")


def _read_provenance(path: Path, prototypes: tuple[int, ...]) -> pd.DataFrame:
    """Read the table, which must have its columns and list the prototypes of the head."""
    table = read_table(path)
    found = {name: str(dtype) for name, dtype in table.dtypes.items()}
    if found not in (COLUMNS, WEIGHTED):
        raise ArtifactError(f"{path} must have the columns {', '.join(COLUMNS)}, got {', '.join(map(str, found))}")
    if set(table["code"]) != set(prototypes):
        raise ArtifactError(f"{path} must list every prototype of the head and no other code; run train again")
    return table
