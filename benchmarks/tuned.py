"""Search the values of the paper's method and of ours in the same way, and split our gain into its parts.

The preset paper has values that were published for ImageNet; on a thousand images its codes are starved of steps. So
the paper's method is searched here, with codes frozen after stage 1 and with codes that move with the head, and ours is
searched as well: for each, --trials settings drawn at random from the ranges of benchmarks.search_spaces, other ones
for each seed, all on the same stored features and by the product's own steps. One rule (choose) picks a setting by
validation alone, for each number of prototypes per class. Only the model that was picked opens test.

The second table walks from the paper's values to ours, each line a search of its own with as many trials: class-aware
seeding in place of stage 1, then the convex head, then joint training, all on the last layer, then the other layers
where extract stored any.

Seconds are CPU seconds of all threads. Those of a search are the sum over its trials, each from features to model, so
that codebooks that trials share count for each; the seconds of the two rows that are not searched are of one model.

A stopped run resumes where it was: trials are kept by the digest of values and features (not of the code).

Run: python -m benchmarks.tuned [--data partbirds photos --photos FOLDER] [--seeds 0 1 2] [--only NAME ...]
     python -m benchmarks.tuned --quick       # a few small images, two trials and two epochs: shows that all runs
Writes tuned.csv and the picked settings, tuned-picked.csv, to docs; with --quick to the work folder.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from benchmarks.datasets import DataSet, Places, add_arguments, demo, photos, quick
from benchmarks.recipes import Measured, measure, shorter, tested
from benchmarks.search_spaces import SEARCHES, Search, Setting
from benchmarks.training import Sections, codebook_of, features_of, logits_of, models, write_aside
from benchmarks.tuned_table import Found, gains, summarise, text
from protoquant.core.errors import DataError
from protoquant.features.store.store import FeatureStore


@dataclass(frozen=True)
class Trial:
    """One setting on validation.

    Attributes:
        number: Number of the trial in its search, from 0.
        setting: The values drawn.
        top1: Accuracy on validation, in [0, 1].
        loss: Mean cross-entropy on validation, in nats.
        class_size: Prototypes per class.
        cpu: Seconds of all threads from features to model, or to the error.
        failed: The error that ended it; empty if it gave a model.
    """

    number: int
    setting: Setting
    top1: float
    loss: float
    class_size: float
    cpu: float
    failed: str = ""


def choose(trials: Sequence[Trial]) -> Trial:
    """Pick the trial of the highest accuracy on validation; of equals the one of least cross-entropy, then the first.

    Raises:
        ValueError: No trial gave a model.
    """
    finished = [trial for trial in trials if not trial.failed]
    if not finished:
        raise ValueError(f"none of {len(trials)} trials gave a model; the last: {trials[-1].failed}")
    return min(finished, key=lambda trial: (-trial.top1, trial.loss, trial.number))


def tries(
    data: DataSet, name: str, number: int, budgets: Sequence[int], work: Path, *, quick: bool = False
) -> dict[int, Trial]:
    """Make the models of one trial and measure them on validation, or read the results of an earlier run.

    Args:
        data: Images and features; test is not opened.
        name: A key of SEARCHES.
        number: Number of the trial, from 0.
        budgets: Prototypes per class.
        work: Where codebooks and results are kept.
        quick: Much shorter training, to check that everything runs.

    Returns:
        The trial for each budget.
    """
    setting = SEARCHES[name].setting(data.seed, number)
    plan = _plan(SEARCHES[name], setting, quick=quick)
    places = {budget: _kept(data, budget, plan, work / "tuned" / "trials") for budget in budgets}
    missing = [budget for budget, place in places.items() if not place.is_file()]
    for budget, trial in (
        _made(data, Trial(number, setting, 0.0, 0.0, 0.0, 0.0), plan, missing, work) if missing else ()
    ):
        write_aside(places[budget], json.dumps(asdict(trial)))
    return {budget: Trial(**json.loads(place.read_text(encoding="utf-8"))) for budget, place in places.items()}


def _made(
    data: DataSet, trial: Trial, plan: Sections, budgets: Sequence[int], work: Path
) -> Iterator[tuple[int, Trial]]:
    """Train a setting; an error of its data, such as a loss that is NaN at a high rate, ends this trial alone."""
    left, spent, began = list(budgets), 0.0, time.process_time()
    try:
        spent = codebook_of(data, plan[0], work)[1]
        began = time.process_time()
        for model in models(data, plan, budgets, work):
            store = features_of(data, model.bundle, "validation")
            logits = logits_of(model.bundle, store)
            top1 = float((logits.argmax(dim=1) == store.labels).double().mean())
            loss = float(cross_entropy(logits.double(), store.labels))
            left.remove(model.budget)
            yield model.budget, replace(trial, top1=top1, loss=loss, class_size=model.class_size, cpu=model.cpu)
    except DataError as error:
        cpu = spent + time.process_time() - began
        yield from ((budget, replace(trial, cpu=cpu, failed=str(error))) for budget in left)


def picked(data: DataSet, name: str, budget: int, trial: Trial, work: Path, *, quick: bool = False) -> Measured:
    """Make the model of the picked trial once more and measure it on test, or read the result of an earlier run.

    Raises:
        ValueError: The model is another one than in its trial.
    """
    plan = _plan(SEARCHES[name], trial.setting, quick=quick)
    place = _kept(data, budget, plan, work / "tuned" / "picked")
    if not place.is_file():
        (model,) = models(data, plan, [budget], work)
        write_aside(place, json.dumps(asdict(tested(data, name, model))))
    found = Measured(**json.loads(place.read_text(encoding="utf-8")))
    if found.validation_top1 != trial.top1:
        raise ValueError(
            f"{name}, trial {trial.number}: {found.validation_top1:.4f} on validation, {trial.top1:.4f} in the search; "
            f"remove {work / 'tuned'} after a change of the code"
        )
    return replace(found, images=FeatureStore.open(data.workspace.features / "test").digest)


def search(
    data: DataSet, name: str, budgets: Sequence[int], work: Path, *, trials: int, quick: bool = False
) -> list[Found]:
    """Run a search on one data set and seed, and measure what it picks for each budget."""
    found = [tries(data, name, number, budgets, work, quick=quick) for number in range(trials)]
    rows = []
    for budget in budgets:
        own = [trial[budget] for trial in found]
        best = choose(own)
        model = picked(data, name, budget, best, work, quick=quick)
        cpu, failed = sum(trial.cpu for trial in own), sum(bool(trial.failed) for trial in own)
        rows.append(Found(name, model, cpu, trials, failed, dict(best.setting)))
    return rows


def untuned(data: DataSet, recipe: str, budgets: Sequence[int], work: Path, *, quick: bool = False) -> list[Found]:
    """The models of a preset, as in benchmarks.accuracy."""
    return [Found(recipe, one, one.cpu, 1, 0, {}) for one in measure(data, recipe, budgets, work, quick=quick)]


def _plan(own: Search, setting: Setting, *, quick: bool) -> Sections:
    plan = own.sections(setting)
    return shorter(*plan) if quick else plan


def _kept(data: DataSet, budget: int, plan: Sections, folder: Path) -> Path:
    """Return the file for the result of these values."""
    digests = [FeatureStore.open(data.workspace.features / part).digest for part in ("train", "validation")]
    said = [data.key, data.seed, budget, *(part.model_dump_json() for part in plan), *digests]
    return folder / f"{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}.json"


def run(data: Sequence[DataSet], given: argparse.Namespace) -> list[Found]:
    """Run every search on every data set, and print the progress after each."""
    found = []
    for one in data:
        for name in ("paper", "fast"):
            found += untuned(one, name, given.budgets, given.work, quick=given.quick)
        for name in given.only:
            if SEARCHES[name].layered and len(FeatureStore.open(one.workspace.features / "train").layers) == 1:
                print(f"{one.name}, seed {one.seed}, {name}: not measured, since extract stored the last layer alone")
                continue
            began = time.perf_counter()
            rows = search(one, name, given.budgets, given.work, trials=given.trials, quick=given.quick)
            took = time.perf_counter() - began
            failed = f", {rows[0].failed} failed" if rows[0].failed else ""
            print(f"{one.name}, seed {one.seed}, {name}: {given.trials} trials{failed}, {took:.0f} s", flush=True)
            found += rows
    return found


MAKERS = {"partbirds": demo, "photos": photos}


def main() -> None:
    """Print both tables, and write them with the picked settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", choices=list(MAKERS), default=["partbirds"])
    parser.add_argument("--budgets", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--only", nargs="+", choices=list(SEARCHES), default=list(SEARCHES))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the tables")
    parser.add_argument("--quick", action="store_true", help="see that all runs: one small data set, two trials")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    places, out = Places.of(given), given.work / "quick" if given.quick else given.out
    if given.quick:
        given.budgets, given.trials, data = [1, 2], 2, [quick(given.seeds[0], places)]
    else:
        data = [MAKERS[name](seed, places) for name in given.data for seed in given.seeds]
    found = run(data, given)
    rows = summarise(found)
    print(text(rows, gains(found)))
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([vars(row) for row in [*rows, *gains(found)]]).round(5).to_csv(out / "tuned.csv", index=False)
    pd.DataFrame([one.values() for one in found if one.setting]).to_csv(out / "tuned-picked.csv", index=False)


if __name__ == "__main__":
    main()
