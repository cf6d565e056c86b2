"""Measure on validation what it costs to make codes real train patches.

One class-aware codebook is learned, then grounded in each way that train offers. Accuracies are on validation, read off
the path at 3, 5 and 10 prototypes per class; beside each is the price against the codes as learned, on the same images.
There are three columns of prices: the head fitted again at whichever temperature is best, the head fitted again at the
temperature that was best before, and the old head. Where patches were chosen on half of validation, both sides are
measured on the other half.

Run: python -m benchmarks.grounding [artifacts/features] [--codes 7] [--seed 0] [--threads 2]
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.former import free_quantize, free_train
from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe, top1
from protoquant.codebook.quantize import quantize
from protoquant.codebook.tokens import SubsetSource
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.candidates import Fitted, fit_candidates
from protoquant.head.config import Grounding, TrainConfig
from protoquant.head.grounding.grounding import accuracy_at, ground_codes
from protoquant.head.grounding.patch_choice import Judge, halves
from protoquant.model.head import head_logits
from protoquant.model.scored_split import ScoredSplit, score_split

SIZES = (3.0, 5.0, 10.0)
TEMPERATURES = (0.03, 0.045)
METHODS: tuple[tuple[Grounding, int | None], ...] = (
    ("medoid", None),
    ("chosen", 8),
    ("mean", 4),
    ("mean", 8),
    ("mean", 16),
)
CPU = torch.device("cpu")


class Bench:
    """Features, their probe, and the path of any codes on them."""

    def __init__(self, features: Path, probe: LinearProbe, config: TrainConfig) -> None:
        self.train, self.validation = (FeatureStore.open(features / name) for name in ("train", "validation"))
        self.probe, self.config = probe, config

    def score(self, store: FeatureStore, codebook: Codebook) -> ScoredSplit:
        """Return the presence scores at all temperatures."""
        return score_split(
            store,
            codebook,
            self.probe,
            TEMPERATURES,
            batch=self.config.batch,
            nearest=1,
            device=CPU,
            label="score",
            on_event=ignore,
        )

    def path(self, codebook: Codebook) -> tuple[list[Fitted], ScoredSplit, float]:
        """Return all heads, validation presence scores, and the mean cosine of codes with their nearest train patch."""
        on_train, on_validation = self.score(self.train, codebook), self.score(self.validation, codebook)
        classes = int(self.train.labels.max()) + 1
        fitted = fit_candidates(
            self.config, on_train, on_validation, classes, class_weights=None, seed=0, on_event=ignore
        )
        return fitted, on_validation, float(on_train.nearest.cosines.mean())


def measured(fitted: Sequence[Fitted], on: ScoredSplit) -> list[Fitted]:
    """Return the heads with their accuracy on other images."""
    scores = dict(zip(TEMPERATURES, on.scores, strict=True))
    found = []
    for one in fitted:
        logits = head_logits(scores[one.candidate.temperature], one.weights.to_dense())
        found.append(replace(one, candidate=replace(one.candidate, validation_top1=top1(logits, on.labels))))
    return found


def at(fitted: Sequence[Fitted], size: float, temperature: float | None = None) -> float:
    """Return the accuracy at a size, at one temperature or the best of all."""
    kept = [one.candidate for one in fitted if temperature in (None, one.candidate.temperature)]
    return accuracy_at(kept, size)


def row(name: str, cosine: float, before: Sequence[Fitted], after: Sequence[Fitted], old: Sequence[Fitted]) -> str:
    """Format, for each size, the accuracy and the prices: refitted, refitted at the old temperature, old head."""
    cells = []
    for size in SIZES:
        best = max(TEMPERATURES, key=lambda temperature: at(before, size, temperature))
        reference = at(before, size)
        accuracies = (at(after, size), at(after, size, best), at(old, size, best))
        prices = " ".join(f"{100 * (reference - accuracy):+5.1f}" for accuracy in accuracies)
        cells.append(f"{100 * accuracies[0]:5.1f} ({prices})")
    return f"{name:<12} {cosine:>6.3f}  {'   '.join(cells)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?", default=Path("artifacts/features"))
    parser.add_argument("--codes", type=int, default=free_quantize().size, help="codes of each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if not given.features.is_dir():
        print(f"grounding: no features at {given.features}; run dvc repro extract, or name a folder of features")
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "codebook"
        learned = free_quantize(size=given.codes)
        quantize(learned, features=given.features, out=out, device=CPU, seed=given.seed, on_event=ignore)
        codebook, probe = Codebook.open(out), LinearProbe.open(out)
    config = free_train(
        temperature=TEMPERATURES, solver="proximal", budget=None, choice=None, joint=None, points=12, ratio=0.006
    )
    bench = Bench(given.features, probe, config)
    with torch.inference_mode():
        before, scored, cosine = bench.path(codebook)
        print(
            f"{given.features}: {given.codes} codes per class, validation n = {bench.validation.n}, seed {given.seed}"
        )
        head = "   ".join(f"{f'at {size:g}: top-1 (prices)':<25}" for size in SIZES)
        print(f"{'':<12} {'cosine':>6}  {head}")
        print(row("centroid", cosine, before, before, before), flush=True)
        taken = min(before, key=lambda one: (abs(one.candidate.class_size - 5.0), -one.candidate.validation_top1))
        judging, measuring = halves(bench.validation.labels)
        judge = Judge(
            SubsetSource(bench.validation, judging),
            taken.weights.to_dense(),
            taken.candidate.temperature,
            bench.config.batch,
        )
        for method, patches in METHODS:
            grounded = ground_codes(method, patches, source=bench.train, codebook=codebook, judge=judge)
            after, rescored, cosine = bench.path(grounded.codebook)
            kept = measuring if method == "chosen" else torch.arange(bench.validation.n)
            paths = measured(before, scored.on(kept)), measured(after, rescored.on(kept))
            old = measured(before, rescored.on(kept))
            print(row(f"{method} {patches or ''}", cosine, paths[0], paths[1], old), flush=True)


if __name__ == "__main__":
    main()
