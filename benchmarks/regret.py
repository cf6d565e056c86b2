"""Measure what choosing a head costs: its accuracy on test against that of the best head that was there to choose.

For each data set, the convex heads of every size and temperature are fitted on train (no joint training) and measured
on test, which no rule sees. Three rules choose one of them: the old one (the sparsest within a point of the best
accuracy on validation), one standard error of the cross-fitted log-loss, and the sparsest within a point of the best
cross-fitted accuracy. The regret of a rule is the best accuracy on test of all heads less that of its head. Besides the
whole data sets there are random halves of the photos' train and validation images, drawn by class, which show how
often a rule is lucky. Finished draws are kept in the work folder; remove its ``regret`` after a change of the code.

Run: python -m benchmarks.regret [--photos FOLDER] [--halves 10] [--threads 2]
Writes regret.csv and regret.png to docs.
"""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.datasets import DataSet, Places, add_arguments, demo, photos
from benchmarks.former import free_quantize, free_train
from benchmarks.regret_chart import draw
from benchmarks.training import CPU, codebook_of
from protoquant.core.events import ignore
from protoquant.core.seeding import numpy_generator
from protoquant.core.workspace import Workspace
from protoquant.features.config import LAST
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from protoquant.head.choice.choose import choose_head
from protoquant.head.choice.crossfit import cross_fit, prepare_task
from protoquant.head.config import ChoiceConfig, TrainConfig
from protoquant.head.inputs import TrainInputs, scoring
from protoquant.head.record import TrainingOutcome
from protoquant.head.select import select
from protoquant.head.train import fit
from protoquant.model.head import head_logits
from protoquant.model.scored_split import score_source

RULES = ("old", "one_se", "tolerance")


def halve(data: DataSet, draw: int, work: Path) -> DataSet:
    """Return the data set with a random half of each class's train and validation images, and the same test images."""
    folder = work / "halves" / f"{data.key}-{draw}"
    features = data.workspace.features
    for split in ("train", "validation"):
        if (folder / "artifacts" / "features" / split).is_dir():
            continue
        store, generator = FeatureStore.open(features / split), numpy_generator(draw, "half", split)
        kept = np.sort(np.concatenate([_half(store.labels.numpy() == label, generator) for label in _classes(store)]))
        rows = torch.from_numpy(kept)
        names = [store.image_ids[row] for row in kept]
        out = folder / "artifacts" / "features" / split
        write_store(out, store.tokens(rows), store.labels[rows], names, store.layers[-1].grid, store.backbone)
    for name in ("images", "features/test"):
        link = folder / "artifacts" / name
        if not link.exists():
            link.symlink_to((data.workspace.images if name == "images" else features / "test").resolve())
    return replace(data, name=f"{data.name}, halves", key=f"{data.key}-half-{draw}", workspace=Workspace(folder))


def _classes(store: FeatureStore) -> range:
    return range(int(store.labels.max()) + 1)


def _half(here: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Half of the positions of a class, rounded up, so that none is left without an image."""
    places = np.flatnonzero(here)
    return generator.permutation(places)[: -(-len(places) // 2)]


def measure(data: DataSet, draw: int, choice: ChoiceConfig, work: Path) -> pd.DataFrame:
    """Fit all heads of a data set, and mark those that the rules choose; read an earlier result of the same values.

    Returns:
        A row for each head: data, draw, temperature, size, validation_top1, cross_fitted_top1, log_loss, test_top1,
        and 1 in the column of each rule that chooses it.
    """
    config = free_train(joint=None, choice=None)
    values = f"{config.model_dump_json()} {choice.model_dump_json()}"
    file = work / "regret" / f"{data.key}-{hashlib.sha256(values.encode()).hexdigest()[:12]}.csv"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        _measure(data, draw, config, choice, work).to_csv(file, index=False, float_format="%.6f")
    return pd.read_csv(file)


def _measure(data: DataSet, draw: int, config: TrainConfig, choice: ChoiceConfig, work: Path) -> pd.DataFrame:
    codebook, _ = codebook_of(data, free_quantize(layers=(LAST,)), work)
    space = data.workspace
    given = TrainInputs.open(images=space.images, root=data.root, features=space.features, codebook=codebook)
    task = prepare_task(config, choice, given, room=None, device=CPU, seed=draw)
    with scoring(config, given, work / "bundle", CPU, ignore) as room:
        trained = fit(config, given, room, device=CPU, seed=draw, on_event=ignore)
    answers = cross_fit(task, choice, ignore)
    chosen = {
        rule: choose_head(config, choice.model_copy(update={"rule": rule}), answers, trained.candidates)
        for rule in RULES[1:]
    }
    frame = chosen["one_se"].table[["temperature", "size", "log_loss", "top1"]]
    frame = frame.rename(columns={"top1": "cross_fitted_top1"})
    frame.insert(0, "data", data.name)
    frame.insert(1, "draw", draw)
    frame["validation_top1"] = [one.validation_top1 for one in trained.candidates]
    frame["test_top1"] = _tested(trained, data, config)
    old = select(trained.candidates, tolerance=config.tolerance, max_class_size=None)
    places = {"old": old, **{rule: one.place for rule, one in chosen.items()}}
    for rule in RULES:
        frame[rule] = [int(row == places[rule]) for row in range(len(frame))]
    return frame


def _tested(trained: TrainingOutcome, data: DataSet, config: TrainConfig) -> list[float]:
    """Accuracy on test of every head."""
    store = FeatureStore.open(data.workspace.features / "test", trained.codebook.layer_names)
    scores = dict(
        zip(config.temperatures, score_source(store, trained.codebook, config.temperatures, config.batch), strict=True)
    )
    found = []
    for one in trained.fitted:
        logits = head_logits(scores[one.candidate.temperature], one.weights.to_dense())
        found.append(float((logits.argmax(dim=1) == store.labels).double().mean()))
    return found


def regrets(heads: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each draw and rule: size, temperature, accuracies of the chosen head, and its regret."""
    rows = []
    for (name, number), own in heads.groupby(["data", "draw"], sort=False):
        best = float(own["test_top1"].max())
        for rule in RULES:
            taken = own[own[rule] == 1].iloc[0]
            rows.append(
                {
                    "data": name,
                    "draw": number,
                    "rule": rule,
                    "size": taken["size"],
                    "temperature": taken["temperature"],
                    "said": taken["validation_top1" if rule == "old" else "cross_fitted_top1"],
                    "test_top1": taken["test_top1"],
                    "regret": best - float(taken["test_top1"]),
                }
            )
    return pd.DataFrame(rows)


def lines(found: pd.DataFrame) -> list[str]:
    """Return the table as lines of Markdown: means over the draws of a data set."""
    out = ["| data | draws | rule | prototypes per class | says, % | test, % | regret, points (largest) |"]
    out += ["|---|---|---|---|---|---|---|"]
    for (name, rule), own in found.groupby(["data", "rule"], sort=False):
        out.append(
            f"| {name} | {len(own)} | {rule} | {own['size'].mean():.1f} | {100 * own['said'].mean():.1f} | "
            f"{100 * own['test_top1'].mean():.1f} | {100 * own['regret'].mean():.2f} "
            f"({100 * own['regret'].max():.2f}) |"
        )
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halves", type=int, default=10, help="random halves of the photos (default 10)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the table and the picture")
    add_arguments(parser)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    places, choice = Places.of(given), ChoiceConfig()
    whole = [demo(0, places)] + ([photos(0, places)] if places.has_photos else [])
    heads = [measure(data, 0, choice, given.work) for data in whole]
    print("\n".join(lines(regrets(pd.concat(heads)))), flush=True)
    for number in range(given.halves if places.has_photos else 0):
        heads.append(measure(halve(whole[-1], number, given.work), number, choice, given.work))
        print("\n".join(lines(regrets(heads[-1]))[2:]), flush=True)
    table = pd.concat(heads)
    print("\n".join(lines(regrets(table))))
    table.to_csv(given.out / "regret.csv", index=False, float_format="%.6f")
    draw(table, regrets(table), given.out / "regret.png")


if __name__ == "__main__":
    main()
