"""The outcome of training, and its conversion to metrics, tables and the bundle."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import top1
from protoquant.core.artifacts import rounded
from protoquant.core.events import OnEvent
from protoquant.features.store.store import FeatureStore
from protoquant.head.candidates import Fitted
from protoquant.head.choice.choose import HeadChoice
from protoquant.head.choice.joint_epoch import HeldOutEpochs
from protoquant.head.config import TrainConfig
from protoquant.head.grounding.grounding import Price
from protoquant.head.inputs import PresenceScores, TrainInputs
from protoquant.head.select import HeadCandidate
from protoquant.model.answers_made import CROSS_FITTED, HELD_OUT, IN_SAMPLE
from protoquant.model.bundle import Bundle
from protoquant.model.chosen_by import BALANCED, saying
from protoquant.model.grounded import patches_of
from protoquant.model.provenance import provenance_table
from protoquant.model.reference import measure_reference

_NAMED = 3
"""Classes that a sentence names at most."""


@dataclass(frozen=True)
class JointRow:
    """One epoch of joint training: one row of ``joint.csv``.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Training cross-entropy, with dropout, and what ``steadiness`` adds to it, in nats.
        validation_loss: Cross-entropy on validation, in nats; without a choice by cross-fitting the lowest one decides
            between equal accuracies. With class weights all classes count the same in it.
        validation_top1: Accuracy on validation, in [0, 1]; without a choice by cross-fitting the highest one decides.
        drift: Mean cosine of the codes with those of quantize, in [-1, 1].
        class_size: Mean non-zero weights per class.
        balanced_accuracy: Balanced accuracy on validation, in [0, 1], which then decides in the place of
            ``validation_top1``; None without class weights.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_top1: float
    drift: float
    class_size: float
    balanced_accuracy: float | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """The value that the best epoch maximises; the first epoch wins ties."""
        accuracy = self.validation_top1 if self.balanced_accuracy is None else self.balanced_accuracy
        return accuracy, -self.validation_loss

    def values(self) -> dict[str, float]:
        """All values except the epoch."""
        return {name: value for name, value in asdict(self).items() if name != "epoch" and value is not None}


@dataclass(frozen=True)
class TrainingOutcome:
    """The codes, the heads, and the head that was taken.

    Attributes:
        codebook: The codes of the model, on the CPU.
        scores: Presence of these codes in both splits.
        fitted: All heads of the path.
        place: Index of the chosen head.
        moved: That head after joint training; None without joint training.
        joint: All epochs of joint training.
        epoch: The epoch that was kept; 0 without joint training.
        price: Cost of grounding; None if codes stay as learned.
        choice: How cross-fitting chose the head; None if validation chose it.
        tried: How a held-out fold chose the epoch; None if validation chose it, or without joint training.
        twin: The same recipe fitted on train alone, where the model was fitted on validation too; else None.
    """

    codebook: Codebook
    scores: PresenceScores
    fitted: tuple[Fitted, ...]
    place: int
    moved: Fitted | None = None
    joint: tuple[JointRow, ...] = ()
    epoch: int = 0
    price: Price | None = None
    choice: HeadChoice | None = None
    tried: HeldOutEpochs | None = None
    twin: "TrainingOutcome | None" = None

    @property
    def candidates(self) -> tuple[HeadCandidate, ...]:
        """All heads of the path."""
        return tuple(one.candidate for one in self.fitted)

    @property
    def taken(self) -> Fitted:
        """The head of the model."""
        return self.moved if self.moved is not None else self.fitted[self.place]

    def table(self) -> pd.DataFrame:
        """One row for each head of the path: ``path.csv``."""
        frame = _table([asdict(one) for one in self.candidates])
        frame["selected"] = [int(position == self.place) for position in range(len(frame))]
        return frame

    def joint_table(self) -> pd.DataFrame | None:
        """One row for each epoch of joint training: ``joint.csv``; None without joint training."""
        if not self.joint:
            return None
        frame = _table([asdict(row) for row in self.joint])
        if self.tried is not None:
            frame["held_out_loss"], frame["smoothed_loss"] = self.tried.losses, self.tried.smoothed
        frame["selected"] = [int(row.epoch == self.epoch) for row in self.joint]
        return frame

    def choice_table(self) -> pd.DataFrame | None:
        """One row for each head, by its cross-fitted answers: ``choice.csv``; None without cross-fitting."""
        return None if self.choice is None else self.choice.table


ABSENT = {"choice": None, "fit_on": "train", "codes": "free", "mixture": None, "class_weights": "none"}
"""Keys of the section that a bundle leaves out where they have these values: it is then as before there were any."""

ABSENT_JOINT = {"start_size": None, "steadiness": 0.0}
"""What joint training did before its section had these keys."""


def bundle_of(config: TrainConfig, given: TrainInputs, trained: TrainingOutcome) -> Bundle:
    """Combine the taken head with everything that its explanations need; nothing is written."""
    chosen = trained.taken.candidate
    # What a section does not use reads as before it could, so that such a bundle keeps its bytes.
    absent = {name for name, value in ABSENT.items() if getattr(config, name) == value}
    section = config.model_dump(mode="json", exclude=absent)
    params: dict[str, Any] = {"train": section}
    if given.quantize_params is not None:
        params["quantize"] = given.quantize_params
    bundle = Bundle(
        codebook=replace(trained.codebook, mixture=None),
        head=trained.taken.weights.to_dense().cpu(),
        temperature=chosen.temperature,
        classes=given.images.classes,
        grid=given.train.grid,
        backbone=given.train.backbone,
        params=params,
        provenance=pd.DataFrame(),
        metrics=_metrics(config, trained),
    )
    prototypes, mixture = bundle.prototypes.tolist(), trained.codebook.mixture
    table = provenance_table(prototypes, trained.scores.train.nearest, given.train, mixture)
    kept = mixture is not None and config.mixture is not None and config.mixture.tokens
    patches = patches_of(mixture, prototypes) if kept and mixture is not None else None
    return replace(bundle, provenance=table, patches=patches)


def referred(
    bundle: Bundle,
    config: TrainConfig,
    *,
    train: FeatureStore,
    validation: FeatureStore,
    device: torch.device,
    on_event: OnEvent,
) -> Bundle:
    """Add the model's results on its own images to the bundle; the last step before it is written.

    Args:
        bundle: A finished model.
        config: The section that it was trained with.
        train: The features that it was trained on.
        validation: The features that it was chosen on.
        device: Device to compute on.
        on_event: Receives progress.
    """
    with torch.inference_mode():
        reference = measure_reference(
            bundle.codebook,
            bundle.head,
            bundle.temperature,
            train=train,
            validation=validation,
            abstain_share=config.abstain_share,
            batch=config.batch,
            device=device,
            on_event=on_event,
        )
    return replace(bundle, reference=reference)


def answered_by(bundle: Bundle, twin: Bundle) -> Bundle:
    """The bundle of a model that was fitted on validation too, with what only held-out images tell taken from its twin.

    These are the answers for validation, the threshold of abstention and the health of the codes. The histograms of
    presence are the model's own: those of validation are in-sample.

    Args:
        bundle: The model, with its reference.
        twin: The model of the same recipe that was fitted on train alone, with its own.
    """
    if bundle.reference is None or twin.reference is None:
        raise ValueError("both models must have their reference")
    held_out = twin.reference
    reference = replace(
        bundle.reference,
        answers=held_out.answers,
        abstain_below=held_out.abstain_below,
        codebook=held_out.codebook,
    )
    return replace(bundle, reference=reference)


def head_sentence(trained: TrainingOutcome, probe_top1: float) -> str:
    """The taken head in one line."""
    chosen, n = trained.taken.candidate, trained.scores.validation.images
    balanced = "" if chosen.balanced_accuracy is None else f"balanced accuracy {chosen.balanced_accuracy:.4f}, "
    return (
        f"head: validation {balanced}top-1 {chosen.validation_top1:.4f}, linear probe {probe_top1:.4f}, n = {n}; "
        f"{chosen.prototypes} prototypes, {chosen.class_size:.1f} per class, temperature {chosen.temperature:g}"
    )


def never_predicted(bundle: Bundle, *, weighed: bool) -> str:
    """The classes with validation images that the model gives as answer to none, in one line; empty if there are none.

    Args:
        bundle: The finished model, with its reference.
        weighed: Whether it was fitted with class weights, which are else the remedy.
    """
    if bundle.reference is None:
        raise ValueError("the model must have its reference")
    answers = bundle.reference.answers
    labels = sorted(set(answers["label"]) - set(answers["predicted"]))
    if not labels:
        return ""
    names = ", ".join(repr(bundle.classes[label]) for label in labels[:_NAMED])
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    remedy = "" if weighed else "; train.class_weights balanced makes images of rare classes count more"
    return f"never predicted on validation: {len(labels)} of {len(bundle.classes)} classes, {names}{more}{remedy}"


def _metrics(config: TrainConfig, trained: TrainingOutcome) -> dict[str, Any]:
    """The model's metrics, with the linear probe's accuracies for comparison; accuracies are fractions."""
    chosen = trained.taken.candidate
    splits = {"train": trained.scores.train, "validation": trained.scores.validation}
    numbers: dict[str, Any] = rounded(
        {
            "train": {"top1": chosen.train_top1, "n": splits["train"].images},
            "validation": {"top1": chosen.validation_top1, "n": splits["validation"].images},
            "probe": {name: {"top1": top1(split.probe_logits, split.labels)} for name, split in splits.items()},
            "prototypes": chosen.prototypes,
            "class_size": chosen.class_size,
            "nonzeros": chosen.nonzeros,
            "temperature": chosen.temperature,
            "penalty": chosen.penalty,
            "objective": chosen.objective,
            "gap": chosen.gap,
            "grounding": _grounding(config, trained.price),
        }
    )
    if chosen.balanced_accuracy is not None:
        numbers["validation"] |= rounded({BALANCED: chosen.balanced_accuracy})
        numbers |= saying(BALANCED)
    if trained.choice is not None:
        numbers["choice"] = rounded(trained.choice.numbers)
        numbers["answers"] = {
            "train": IN_SAMPLE,
            "validation": HELD_OUT if trained.twin is None else CROSS_FITTED,
            "choice": CROSS_FITTED,
            "presence": HELD_OUT if trained.twin is None else IN_SAMPLE,
        }
    if trained.joint:
        numbers["joint"] = rounded({"epoch": trained.epoch, "drift": trained.joint[trained.epoch - 1].drift})
    return numbers


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of measurements; without class weights balanced accuracy is not among them."""
    frame = pd.DataFrame(rows)
    return frame.drop(columns=BALANCED) if frame[BALANCED].isna().all() else frame


def _grounding(config: TrainConfig, price: Price | None) -> dict[str, Any]:
    """The method of grounding, and its cost on validation at the size selected before."""
    numbers = {} if price is None else asdict(price) | {"price": price.before - price.after}
    return {"method": config.grounding, "patches": config.grounding_patches, **numbers}
