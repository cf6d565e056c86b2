"""Everything that the report is drawn from, read once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from protoquant.core.artifacts import artifact_digest, open_artifact, read_json, read_table
from protoquant.core.errors import ArtifactError
from protoquant.data.table import ImageTable
from protoquant.evaluation import tables
from protoquant.evaluation.metrics.accuracy import confusion
from protoquant.evaluation.metrics.grounding import PROTOTYPES
from protoquant.evaluation.metrics.measure import METRICS
from protoquant.evaluation.metrics.purity import PURITY
from protoquant.evaluation.metrics.stability import STABILITY
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle

# In per_class.csv only an empty cell of these columns is a missing value, because a class may be called "NA".
_MISSING = {"precision": [""], "recall": [""]}


@dataclass(frozen=True)
class Sources:
    """Results of the other stages.

    Attributes:
        table: All images with their files.
        prepared: Counts of images and of quarantined ones, from prepare.
        bundle: The model.
        store: Features of the test split.
        path: Every candidate of the accuracy-sparsity path.
        predictions: One row per test image.
        contributions: One row per non-zero contribution.
        per_class: The table of classes.
        reliability: The bins of the reliability diagram.
        prototypes: The grounding of every prototype.
        stability: Stability of test images under each small change; None where it was not measured.
        purity: Purity of every prototype on test images, by code; None where it was not measured.
        metrics: All numbers of the test split.
        digests: Digest of every artifact, by name.
    """

    table: ImageTable
    prepared: Mapping[str, Any]
    bundle: Bundle
    store: FeatureStore
    path: pd.DataFrame
    predictions: pd.DataFrame
    contributions: pd.DataFrame
    per_class: pd.DataFrame
    reliability: pd.DataFrame
    prototypes: pd.DataFrame
    stability: pd.DataFrame | None
    purity: pd.DataFrame | None
    metrics: Mapping[str, Any]
    digests: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names for display, with spaces for underscores."""
        return tuple(name.replace("_", " ").strip() or name for name in self.bundle.classes)

    @property
    def head(self) -> Float[np.ndarray, "c k"]:
        """Head weights."""
        weights: Float[np.ndarray, "c k"] = self.bundle.head.numpy()
        return weights

    @property
    def confusion(self) -> Int[np.ndarray, "c c"]:
        """Test images by true class (rows) and predicted class (columns)."""
        labels, predicted = (self.predictions[name].to_numpy() for name in ("label", "predicted"))
        return confusion(labels, predicted, len(self.bundle.classes))


def read_sources(*, images: Path, root: Path, features: Path, bundle: Path, evaluation: Path) -> Sources:
    """Open every artifact that the report needs.

    Args:
        images: Written by prepare.
        root: Root folder of the image files.
        features: Written by extract; only its test split is opened.
        bundle: Written by train.
        evaluation: Written by evaluate.

    Returns:
        The sources.

    Raises:
        ArtifactError: An artifact is missing or damaged, or the evaluation is of another bundle or other features.
    """
    made = open_artifact(evaluation, "evaluation")
    opened = Bundle.open(bundle)
    store = FeatureStore.open(features / "test", opened.backbone.layers)
    digests = {
        "images": artifact_digest(images),
        "test features": store.digest,
        "bundle": artifact_digest(bundle),
        "evaluation": artifact_digest(evaluation),
    }
    for name, digest in (("bundle", digests["bundle"]), ("features", digests["test features"])):
        if made.inputs.get(name) != digest:
            raise ArtifactError(f"{evaluation} measured another {name} than the one given; run evaluate again")
    return Sources(
        table=ImageTable.open(images, root, verify=False),
        prepared=read_json(images / "summary.json"),
        bundle=opened,
        store=store,
        path=pd.read_csv(bundle / "path.csv"),
        predictions=read_table(evaluation / tables.PREDICTIONS),
        contributions=read_table(evaluation / tables.CONTRIBUTIONS),
        per_class=pd.read_csv(evaluation / tables.PER_CLASS, keep_default_na=False, na_values=_MISSING),
        reliability=pd.read_csv(evaluation / tables.RELIABILITY),
        prototypes=pd.read_csv(evaluation / PROTOTYPES),
        stability=pd.read_csv(evaluation / STABILITY) if STABILITY in made.files else None,
        purity=_purity(evaluation / PURITY) if PURITY in made.files else None,
        metrics=read_json(evaluation / METRICS),
        digests=digests,
    )


def _purity(path: Path) -> pd.DataFrame:
    """Purity with the cell as box, which is what pictures of patches show; a part may be called "NA"."""
    table = pd.read_csv(path, keep_default_na=False, na_values={"purity": [""]})
    return table[table["box"] == "cell"].set_index("code")
