"""Prunes a bundle by a plan into a smaller model with its own metrics and provenance."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.rest_codes import Rest
from protoquant.core.artifacts import rounded
from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent
from protoquant.features.store.store import FeatureStore
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import TrainConfig
from protoquant.head.grounding.patch_choice import halves
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.record import ABSENT, ABSENT_JOINT
from protoquant.head.solvers.duality_gap import penalised
from protoquant.head.solvers.problem import Limits
from protoquant.model.answers_made import IN_SAMPLE, presence_made
from protoquant.model.bundle import Bundle
from protoquant.model.chosen_by import BALANCED
from protoquant.prune.engine import Pruned, PruneStep, Start, largest_class, prune
from protoquant.prune.evidence import PresenceScorer, Rescore, Scored
from protoquant.prune.measure import Quality, deviation, quality
from protoquant.prune.sink import distil

_HOLD = 2.0**28
"""Bytes of cosines that may stay in memory so that scoring again reads no token; larger ones are streamed each time."""


@dataclass(frozen=True)
class PrunedBundle:
    """A pruned model and the steps that led to it.

    Attributes:
        bundle: The model; not yet written.
        table: One row for the start and one for each step: see :func:`pruning_table`.
        result: The result of the engine.
        codes: The old index of every code of the new codebook.
    """

    bundle: Bundle
    table: pd.DataFrame
    result: Pruned
    codes: tuple[int, ...]


def prune_bundle(
    plan: PrunePlan,
    bundle: Bundle,
    stores: Mapping[str, FeatureStore],
    *,
    device: torch.device,
    on_event: OnEvent,
) -> PrunedBundle:
    """Carry out a plan on a bundle.

    Args:
        plan: The pruning plan.
        bundle: The model; it is not changed.
        stores: Only the splits ``train`` and ``validation`` that it was trained on.
        device: Device to compute on.
        on_event: Receives progress and an event for each step.

    Raises:
        DataError: The bundle was pruned to a sink, or the plan cannot be carried out on its head.
    """
    start = starting_point(plan, bundle, stores, device=device, on_event=on_event, hold=_HOLD)
    result = prune(plan, start, on_event)
    compacted = plan.semantics != "mask" and result.chosen > 0
    kept = result.kept.cpu()
    rest = None if result.rest is None else result.rest.to(torch.device("cpu"))
    codebook = bundle.codebook.only(kept, rest) if compacted else bundle.codebook
    codes = tuple(kept.tolist()) if compacted else tuple(range(bundle.codebook.k))
    pruned = replace(
        bundle,
        codebook=codebook,
        head=result.head.cpu()[:, list(codes)].contiguous(),
        params={**bundle.params, "prune": plan.model_dump(mode="json")},
        metrics=_metrics(plan, bundle, start, result),
        reference=None,
        path=None,
    )
    prototypes = pruned.prototypes.tolist()
    pruned = replace(
        pruned,
        provenance=renumbered(bundle.provenance, codes, prototypes),
        patches=_left(bundle, {codes[prototype] for prototype in prototypes}),
    )
    return PrunedBundle(pruned, pruning_table(result), result, codes)


def prune_trained(
    plan: PrunePlan, bundle: Bundle, stores: Mapping[str, FeatureStore], *, device: torch.device, on_event: OnEvent
) -> tuple[Bundle, pd.DataFrame | None, str]:
    """Carry out ``train.prune``: :func:`prune_bundle` in the form that :func:`protoquant.head.train.train` needs.

    A class budget that the head already keeps leaves the bundle as it is: how many weights a trained head has is known
    only after the training, which an error would lose.

    Returns:
        The model, the table of its steps (None where the plan had nothing to do), and a one-line summary.

    Raises:
        DataError: As for :func:`prune_bundle`.
    """
    most = largest_class(bundle.head)
    if plan.budget is not None and 0 < most <= plan.budget:
        reason = f"train.prune.budget is {plan.budget}, and no class has more than {most} weights"
        return bundle, None, f"not pruned: {reason}; lower it to prune"
    pruned = prune_bundle(plan, bundle, stores, device=device, on_event=on_event)
    return pruned.bundle, pruned.table, pruning_sentence(pruned.bundle.metrics)


def starting_point(
    plan: PrunePlan,
    bundle: Bundle,
    stores: Mapping[str, FeatureStore],
    *,
    device: torch.device,
    on_event: OnEvent,
    hold: float = 0.0,
) -> Start:
    """Prepare a bundle for the engine.

    Args:
        plan: Gives the seed, rest codes and penalty.
        bundle: The model.
        stores: Splits to score.
        device: Device to compute on.
        on_event: Receives progress.
        hold: Bytes of cosines that may stay in memory; 0 to stream the stores for every scoring.

    Raises:
        DataError: The bundle was pruned to a sink, or it names no penalty and the plan gives none.
    """
    if bundle.codebook.rest is not None:
        raise DataError("this bundle has rest codes: it was pruned to a sink already; prune the bundle it came from")
    if presence_made(bundle.metrics) == IN_SAMPLE:
        raise DataError(
            "this model was fitted on its validation images (train.fit_on all), which pruning measures on; prune one "
            "that was trained with train.fit_on train"
        )
    fitted = fitted_with(bundle)
    penalty, ridge = (plan.penalty, 0.0) if plan.penalty is not None else _penalties(plan, bundle, fitted)
    codebook = bundle.codebook.to(device)
    weights = ClassWeights.of(fitted.class_weights, bundle.classes)
    scorer = PresenceScorer(stores, codebook, bundle.temperature, fitted.batch, device, on_event, weights)

    def to_rest(removed: Tensor) -> Rest | None:
        return distil(
            codebook,
            removed,
            plan.sink_codes or 1,
            tokens=scorer.batches("train"),
            temperature=bundle.temperature,
            seed=plan.seed,
        )

    limits = Limits(fitted.solver_tolerance, fitted.max_iterations)
    rescore: Rescore = scorer.holding(hold)
    if fitted.grounding == "chosen":
        rescore = _on_others(rescore, halves(stores["validation"].labels)[1].to(device))
    return Start(bundle.head.to(device), codebook.codes, penalty, limits, rescore, to_rest, ridge)


def _on_others(rescore: Rescore, measuring: Int64[Tensor, " m"]) -> Rescore:
    """Leave out the validation images that chose the codes' patches, because they must not measure afterwards."""

    def rescored(kept: Int64[Tensor, " m"], rest: Rest | None) -> Scored:
        scored = rescore(kept, rest)
        return {**scored, "validation": scored["validation"].rows(measuring)}

    return rescored


def pruning_table(result: Pruned) -> pd.DataFrame:
    """The steps of a plan as a table with one row each, the start first; accuracies are fractions."""
    frame = pd.DataFrame([_flat(row) for row in result.rows])
    frame.insert(0, "step", range(len(frame)))
    frame["selected"] = [int(place == result.chosen) for place in range(len(frame))]
    return frame


def renumbered(provenance: pd.DataFrame, codes: tuple[int, ...], prototypes: list[int]) -> pd.DataFrame:
    """The rows of the remaining prototypes, with the codes' new indices.

    Args:
        provenance: Provenance table of the model before pruning.
        codes: The old index of every code of the new codebook.
        prototypes: New indices of the codes that the new head uses.
    """
    new = {codes[prototype]: prototype for prototype in prototypes}
    rows = provenance[provenance["code"].isin(list(new))]
    return rows.assign(code=rows["code"].map(new).astype("int64")).reset_index(drop=True)


def _left(bundle: Bundle, codes: set[int]) -> Float[Tensor, "r d"] | None:
    """The patches of some of the codes, by their old indices."""
    if bundle.patches is None:
        return None
    rows = bundle.provenance[bundle.provenance["weight"] > 0]
    return bundle.patches[torch.from_numpy(rows["code"].isin(list(codes)).to_numpy(copy=True))].contiguous()


def pruning_sentence(metrics: Mapping[str, Any]) -> str:
    """A one-line summary of the pruning, from the metrics of the pruned model."""
    pruned = metrics["prune"]
    top1 = metrics["validation"]["top1"]
    said = (
        f"pruned: validation top-1 {top1:.4f} (before {pruned['validation_top1_before']:.4f}); "
        f"{metrics['prototypes']} of {pruned['prototypes_before']} prototypes, {metrics['nonzeros']} of "
        f"{pruned['nonzeros_before']} weights, {metrics['class_size']:.1f} per class"
    )
    if "mask_changed" in pruned:
        said += f"; {pruned['mask_changed']:.1%} of predictions differ from the same head with all codes in the softmax"
    return said


def _flat(row: PruneStep) -> dict[str, Any]:
    return {
        "ratio": row.ratio,
        "left": row.left,
        **asdict(row.size),
        "top1_before": row.before.top1,
        "loss_before": row.before.loss,
        "validation_top1": row.after.top1,
        **_balanced(row.after),
        "validation_loss": row.after.loss,
        "work": row.work,
        "changed": row.deviation.changed,
    }


def _balanced(found: Quality) -> dict[str, float]:
    return {} if found.balanced_accuracy is None else {BALANCED: found.balanced_accuracy}


def fitted_with(bundle: Bundle) -> TrainConfig:
    """The section that the bundle's head was fitted with.

    Old bundles may name both joint training and a grounding after it; the head was fitted on the grounded codes alone.
    """
    section = {**ABSENT, **bundle.params.get("train", {})}
    if section.get("grounding", "centroid") != "centroid":
        section["joint"] = None
    if section.get("joint") is not None:
        section["joint"] = {**ABSENT_JOINT, **section["joint"]}
    return TrainConfig.parse(section, where="train", source="the bundle")


def _split(fitted: TrainConfig, penalty: float) -> tuple[float, float]:
    """Split a head's penalty into L1 and L2: it is the L2 penalty with solver budget, otherwise the L1 penalty."""
    return (0.0, penalty) if fitted.solver == "budget" else (penalty, 0.0)


def _penalties(plan: PrunePlan, bundle: Bundle, fitted: TrainConfig) -> tuple[float, float]:
    """The L1 and L2 penalties of the last fit of the head's weights; the convex tuner needs one to be positive."""
    if plan.finetune == "none":
        return 0.0, 0.0
    found = bundle.metrics.get("penalty")
    if not isinstance(found, int | float) or found < 0 or (found == 0 and plan.tuner == "refit"):
        raise DataError(
            f"the bundle's metrics must name the penalty of its head, got {found!r}; give the plan's penalty"
        )
    # Training by gradient makes no second fit, so its penalty was not reduced.
    return _split(fitted, float(found) * (1.0 if fitted.solver == "gradient" else fitted.refit))


def _metrics(plan: PrunePlan, bundle: Bundle, start: Start, result: Pruned) -> dict[str, Any]:
    """The model's metrics, updated by pruning and extended with the pruning's own."""
    chosen, came = result.row, result.rows[0]
    train = quality(result.scored["train"], result.head)
    paid = penalised(result.head, *_split(fitted_with(bundle), float(bundle.metrics.get("penalty", 0.0))))
    apart: dict[str, float] = {}
    if plan.semantics != "mask" and result.chosen > 0:
        everything = torch.arange(result.head.shape[1], device=result.head.device)
        masked = start.rescore(everything, None)["validation"]
        apart = asdict(deviation(masked, result.scored["validation"], result.head))
    known = {name: dict(bundle.metrics.get(name, {})) for name in ("train", "validation")}
    numbers: dict[str, Any] = rounded(
        {
            **bundle.metrics,
            "train": {**known["train"], "top1": train.top1},
            "validation": {**known["validation"], "top1": chosen.after.top1, **_balanced(chosen.after)},
            "prototypes": chosen.size.prototypes,
            "class_size": chosen.size.class_size,
            "nonzeros": chosen.size.nonzeros,
            "objective": train.loss + paid,
            "prune": {
                "ratio": chosen.ratio,
                "steps": len(result.rows) - 1,
                "prototypes_before": came.size.prototypes,
                "nonzeros_before": came.size.nonzeros,
                "validation_top1_before": came.after.top1,
                "softmax_codes": len(result.kept),
                "rest_codes": 0 if result.rest is None else len(result.rest.codes),
                "local_size": chosen.size.local_size,
                **{f"mask_{name}": value for name, value in apart.items()},
            },
        }
    )
    return numbers
