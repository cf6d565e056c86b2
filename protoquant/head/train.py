"""TRAIN: from features and codes to the sparse head, and the bundle that is the model."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import artifact_digest, open_artifact, rounded, writing
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.data.table import ImageTable
from protoquant.features.store import FeatureStore
from protoquant.head.bundle import CROPS, KIND, Bundle
from protoquant.head.choosing import Judge, Part, halves
from protoquant.head.config import TrainConfig
from protoquant.head.grounding import Price, ground_codes, price_of
from protoquant.head.path import Fitted, fit_path, top1
from protoquant.head.presence import ScoredSplit, score_split
from protoquant.head.provenance import RANKS, provenance_table, write_crops
from protoquant.head.select import Candidate, select


@dataclass(frozen=True)
class TrainResult:
    """Where the bundle is, and what was chosen.

    Attributes:
        out: The bundle's folder.
        chosen: The head that was taken.
        candidates: All heads of the path.
        probe_top1: Accuracy of the linear probe on validation, in [0, 1].
    """

    out: Path
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    probe_top1: float


@dataclass(frozen=True)
class _Inputs:
    """The artifacts that train opens; there is no test split among them."""

    images: ImageTable
    train: FeatureStore
    validation: FeatureStore
    codebook: Codebook
    probe: LinearProbe
    digests: dict[str, str]
    quantize_params: Any


@dataclass(frozen=True)
class _Path:
    """All heads, the place of the one that is taken, and what grounding cost; None where codes stay as learned."""

    fitted: list[Fitted]
    place: int
    price: Price | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(one.candidate for one in self.fitted)

    @property
    def taken(self) -> Fitted:
        return self.fitted[self.place]


def train(
    config: TrainConfig,
    *,
    images: Path,
    root: Path,
    features: Path,
    codebook: Path,
    out: Path,
    device: torch.device,
    on_event: OnEvent,
) -> TrainResult:
    """Fit heads of falling sparsity, choose one on validation, and write the bundle.

    Args:
        config: The params section.
        images: Written by prepare; class names and, for patch pictures, train images.
        root: ``prepare.root``.
        features: Written by extract; train and validation are opened.
        codebook: Written by quantize.
        out: The bundle's folder; an older one is replaced.
        device: Where to compute.
        on_event: Told of progress and of every head.

    Returns:
        The chosen head and all others.

    Raises:
        ArtifactError: An input is missing or damaged, or inputs do not belong together.
        DataError: No head can be taken, or a score is NaN.
    """
    given = _open(images, root, features, codebook)
    with torch.inference_mode():
        scored = _score(config, given, device, on_event)
        path = _fit(config, given, scored, on_event)
        if config.grounding != "centroid":
            given, scored, path = _ground(config, given, scored[1], path, device=device, on_event=on_event)
    candidates, place = path.candidates, path.place
    bundle = _bundle(config, given, scored, path.taken)
    bundle = replace(bundle, metrics={**bundle.metrics, "grounding": _grounding_metrics(config, path.price)})
    with writing(out, KIND, given.digests) as folder:
        bundle.save(folder, _path_table(candidates, place))
        write_crops(
            folder / CROPS,
            bundle.provenance,
            given.images,
            preprocessing=bundle.backbone.preprocessing,
            grid=bundle.grid,
            ranks=config.crops,
            context=config.crop_context,
            size=config.crop_size,
            on_event=on_event,
        )
    chosen, probe_top1 = candidates[place], float(bundle.metrics["probe"]["validation"]["top1"])
    on_event(MessageEvent(_sentence(chosen, probe_top1, len(scored[1].labels))))
    return TrainResult(out, chosen, candidates, probe_top1)


def _fit(config: TrainConfig, given: _Inputs, scored: list[ScoredSplit], on_event: OnEvent) -> _Path:
    """Fit the path and take one head of it."""
    fitted = fit_path(config, scored[0], scored[1], len(given.images.classes), on_event)
    candidates = [one.candidate for one in fitted]
    return _Path(fitted, select(candidates, tolerance=config.tolerance, max_class_size=config.max_class_size))


def _ground(
    config: TrainConfig, given: _Inputs, before: ScoredSplit, path: _Path, *, device: torch.device, on_event: OnEvent
) -> tuple[_Inputs, list[ScoredSplit], _Path]:
    """Tie the codes to train patches, then score and fit again; the new path knows what that cost.

    Validation images that chose patches are set aside: half of them choose, the other half measures.
    """
    every = torch.arange(given.validation.n)
    judging, measuring = halves(given.validation.labels) if config.grounding == "chosen" else (every, every)
    taken = path.taken.candidate
    judge = Judge(Part(given.validation, judging), path.taken.weights.to_dense(), taken.temperature, config.batch)
    grounded = ground_codes(
        config.grounding,
        config.grounding_patches,
        source=given.train,
        codebook=given.codebook.to(device),
        judge=judge,
    )
    given = replace(given, codebook=grounded.codebook.to(torch.device("cpu")))
    on_train, on_validation = _score(config, given, device, on_event)
    led = on_train.nearest.led_by(*(part.to(device) for part in grounded.patches))
    scored = [replace(on_train, nearest=led), on_validation.on(measuring.to(device))]
    again = _fit(config, given, scored, on_event)
    price = price_of(path.fitted, taken.class_size, again.fitted, before.on(measuring.to(device)), config.temperatures)
    on_event(MessageEvent(price.sentence(config.grounding)))
    return given, scored, replace(again, price=price)


def _open(images: Path, root: Path, features: Path, codebook: Path) -> _Inputs:
    """Open the inputs and refuse those that were not made for each other."""
    table = ImageTable.open(images, root).split("train")
    stores = {name: FeatureStore.open(features / name) for name in ("train", "validation")}
    manifest = open_artifact(codebook, "codebook")
    digests = {f"features/{name}": store.digest for name, store in stores.items()}
    for name, digest in digests.items():
        if manifest.inputs.get(name, digest) != digest:
            raise ArtifactError(f"{codebook} was learned from other {name} than {features}; run quantize again")
    seen = artifact_digest(images / "train")
    if stores["train"].inputs.get("images", seen) != seen:
        raise ArtifactError(f"{features / 'train'} was extracted from other images than {images}; run extract again")
    if stores["train"].backbone != stores["validation"].backbone or stores["train"].grid != stores["validation"].grid:
        raise ArtifactError(f"{features}: train and validation are of different backbones or grids; run extract again")
    inputs = {**digests, "codebook": artifact_digest(codebook), "images/train": seen}
    return _Inputs(
        table,
        stores["train"],
        stores["validation"],
        Codebook.open(codebook, verify=False),
        LinearProbe.open(codebook),
        inputs,
        manifest.extra.get("params"),
    )


def _score(config: TrainConfig, given: _Inputs, device: torch.device, on_event: OnEvent) -> list[ScoredSplit]:
    """Score train and validation."""
    return [
        score_split(
            store,
            given.codebook,
            given.probe,
            config.temperatures,
            batch=config.batch,
            nearest=RANKS,
            device=device,
            label=f"presence, {name}",
            on_event=on_event,
        )
        for name, store in (("train", given.train), ("validation", given.validation))
    ]


def _bundle(config: TrainConfig, given: _Inputs, scored: list[ScoredSplit], taken: Fitted) -> Bundle:
    """Put the chosen head together with what it needs to explain itself."""
    on_train, on_validation = scored
    chosen = taken.candidate
    params: dict[str, Any] = {"train": config.model_dump(mode="json")}
    if given.quantize_params is not None:
        params["quantize"] = given.quantize_params
    bundle = Bundle(
        codebook=given.codebook,
        head=taken.weights.to_dense().cpu(),
        temperature=chosen.temperature,
        classes=given.images.classes,
        grid=given.train.grid,
        backbone=given.train.backbone,
        params=params,
        provenance=pd.DataFrame(),
        metrics=_metrics(chosen, on_train, on_validation),
    )
    table = provenance_table(bundle.prototypes.tolist(), on_train.nearest, given.train)
    return replace(bundle, provenance=table)


def _metrics(chosen: Candidate, on_train: ScoredSplit, on_validation: ScoredSplit) -> dict[str, Any]:
    """The chosen head's numbers, each accuracy with the linear probe's beside it; fractions."""
    probe = {
        name: {"top1": top1(split.probe_logits, split.labels)}
        for name, split in (("train", on_train), ("validation", on_validation))
    }
    numbers: dict[str, Any] = rounded(
        {
            "train": {"top1": chosen.train_top1, "n": len(on_train.labels)},
            "validation": {"top1": chosen.validation_top1, "n": len(on_validation.labels)},
            "probe": probe,
            "prototypes": chosen.prototypes,
            "class_size": chosen.class_size,
            "nonzeros": chosen.nonzeros,
            "temperature": chosen.temperature,
            "penalty": chosen.penalty,
            "objective": chosen.objective,
        }
    )
    return numbers


def _grounding_metrics(config: TrainConfig, price: Price | None) -> dict[str, Any]:
    """What the codes became and what that cost on validation at the size selected before."""
    numbers = {} if price is None else rounded(asdict(price) | {"price": price.before - price.after})
    return {"method": config.grounding, "patches": config.grounding_patches, **numbers}


def _path_table(candidates: tuple[Candidate, ...], place: int) -> pd.DataFrame:
    frame = pd.DataFrame([asdict(one) for one in candidates])
    frame["selected"] = [int(position == place) for position in range(len(frame))]
    return frame


def _sentence(chosen: Candidate, probe_top1: float, n: int) -> str:
    return (
        f"head: validation top-1 {chosen.validation_top1:.4f}, linear probe {probe_top1:.4f}, n = {n}; "
        f"{chosen.prototypes} prototypes, {chosen.class_size:.1f} per class, temperature {chosen.temperature:g}"
    )
