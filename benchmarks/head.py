"""Time the head's solver against others, on the same presence scores, to the same objective.

One penalty, from zero. Each solver runs until its head is within 1e-3 (relative) of the least objective, measured on
all train images by the same code in float64; the clock stops while it is measured. The least objective is that of a
solution in float64 whose duality gap is printed. Times are CPU seconds of all threads, and ratios are of one run.

- ours: FISTA with a diagonal metric, backtracking and restart, float32
- scipy L-BFGS-B with bounds, float64
- plain proximal gradient: the same steps without momentum and metric, float32
- Adam on ReLU weights from N(1, 0.1), mini-batches of 128, the paper's way, for each of two learning rates, float32
- scikit-learn saga: it solves ANOTHER problem, without the sign of the weights, so that its own objective after 100
  epochs takes the place of the least one

Run: python benchmarks/head.py [--threads 2]
     python benchmarks/head.py --large [--images 100000 --codes 2048 --classes 1000 --steps 2 --folder /some/disk]

The first command uses a synthetic problem, and the pipeline's own if artifacts/features and artifacts/codebook exist.
The second fits a head in bounded memory on scores that lie in a memory-mapped file, and prints time per pass and peak
RSS.
"""

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from protoquant.codebook.codebook import Codebook
from protoquant.core.seeding import torch_generator
from protoquant.core.workspace import Workspace
from protoquant.features.store.store import FeatureStore
from protoquant.head.solvers.gradient import train_epochs
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.solvers.l1_path import largest_penalty
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve
from protoquant.model.scored_split import presence_scores

SHARE = 0.05
"""The penalty, as a share of the one at which all weights are zero."""

WITHIN = 1e-3
RATES, EPOCHS = (0.01, 0.05), 300
MIB = 1 << 20


def pipeline_problem(workspace: Workspace, temperature: float) -> Problem:
    """Compute the presence scores of the pipeline's own train split."""
    codebook = Codebook.open(workspace.codebook)
    store = FeatureStore.open(workspace.features / "train", codebook.layer_names)
    scores = presence_scores(store, codebook, temperature, 32)
    return Problem(scores, store.labels, int(store.labels.max()) + 1)


def synthetic_scores(labels: Tensor, k: int, c: int, generator: torch.Generator) -> Tensor:
    """Draw scores like those of a class-aware codebook: a class's own codes are more often present, none is certain."""
    own = (torch.arange(k) % c)[None] == labels[:, None]
    other = torch.rand(len(labels), k, generator=generator) < 0.1
    strength = torch.rand(len(labels), k, generator=generator).square()
    return strength * (0.7 * own + 0.5 * other).clamp(max=1) + 0.01 * strength


def synthetic_problem(n: int = 1500, per_class: int = 10, c: int = 50) -> Problem:
    """Make a problem of the demo's kind and size."""
    labels = torch.arange(n) % c
    return Problem(synthetic_scores(labels, c * per_class, c, torch_generator(0, "benchmark head")), labels, c)


def objective(problem: Problem, weights: Tensor, penalty: float) -> float:
    """Return mean cross-entropy + penalty / c * sum of absolute weights, in float64."""
    logits = problem.scores.double() @ weights.double().T
    size = weights.double().abs().sum()
    return float(functional.cross_entropy(logits, problem.labels) + penalty / problem.classes * size)


@dataclass
class Trace:
    """CPU seconds and objectives of a running solver; the clock stops while the objective is measured."""

    problem: Problem
    penalty: float
    target: float
    spent: float = 0.0
    best: float = float("inf")

    def __post_init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._since = time.process_time()

    def mark(self, weights: Tensor) -> None:
        """Record the present state of the solver.

        Raises:
            ReachedError: The solver has reached the target.
        """
        self.spent += time.process_time() - self._since
        self.best = min(self.best, objective(self.problem, weights, self.penalty))
        self.points.append((self.spent, self.best))
        if self.best <= self.target:
            raise ReachedError
        self._since = time.process_time()

    def start_again(self) -> None:
        """Forget the time so far."""
        self.spent, self._since = 0.0, time.process_time()


class ReachedError(Exception):
    """The solver has reached the target."""


def ours(trace: Trace) -> None:
    """Solve to falling tolerances, each from zero, so that no stop of the clock hides work."""
    for tolerance in (0.1, 0.05, 0.02, 0.01, 1e-3):
        trace.start_again()
        trace.mark(solve(trace.problem, trace.penalty, Limits(tolerance, 5000), start=trace.problem.zeros()).weights)


def lbfgs(trace: Trace) -> None:
    """Solve by scipy's L-BFGS-B in float64."""
    problem, c = trace.problem, trace.problem.classes
    double = Problem(problem.scores.double(), problem.labels, c)

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(flat.reshape(c, -1))
        loss, gradient = double.loss_and_gradient(double.logits(weights))
        slope = (gradient + trace.penalty) / c
        return loss + trace.penalty / c * float(weights.sum()), slope.numpy().ravel()

    minimize(
        both,
        np.zeros(c * problem.k),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (c * problem.k),
        callback=lambda flat: trace.mark(torch.from_numpy(flat.reshape(c, -1))),
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-8},
    )


def plain_proximal(trace: Trace) -> None:
    """Solve by proximal gradient with backtracking alone."""
    problem, c = trace.problem, trace.problem.classes
    weights, inverse_step = problem.zeros(), 1e-3
    logits = problem.logits(weights)
    for step in range(3000):
        loss, gradient = problem.loss_and_gradient(logits)
        while True:
            new = (weights - (gradient + trace.penalty) / inverse_step).clamp_min_(0)
            moved, logits = new - weights, problem.logits(new)
            model = float((gradient * moved).sum()) + inverse_step / 2 * float(moved.square().sum())
            if problem.loss(logits) <= loss + model / c + 1e-6 * max(loss, 1.0):
                break
            inverse_step *= 2
        weights, inverse_step = new, inverse_step / 1.12
        if step % 10 == 9:
            trace.mark(weights)


def adam(rate: float) -> Callable[[Trace], None]:
    """Return a solver that trains as in the paper, with Adam."""

    def run(trace: Trace) -> None:
        config = GradientHeadConfig(lr=rate, epochs=EPOCHS, warmup_epochs=10)
        for epoch in train_epochs(trace.problem, trace.penalty, config, torch_generator(0, "benchmark adam")):
            trace.mark(epoch.weights)

    return run


def saga(trace: Trace) -> None:
    """Solve by scikit-learn without the sign constraint, for more and more epochs, each from zero."""
    problem = trace.problem
    cost = problem.classes / (trace.penalty * problem.n)
    for epochs in (10, 30, 100):
        trace.start_again()
        model = LogisticRegression(
            l1_ratio=1, C=cost, solver="saga", fit_intercept=False, max_iter=epochs, tol=1e-9, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(problem.scores.numpy(), problem.labels.numpy())
        trace.mark(torch.from_numpy(model.coef_))


def compare(name: str, problem: Problem) -> None:
    """Print the table of one problem."""
    penalty = SHARE * largest_penalty(problem)
    print(f"{name}: n = {problem.n}, k = {problem.k}, c = {problem.classes}, penalty {penalty:.4g}")
    double = Problem(problem.scores.double(), problem.labels, problem.classes)
    best = solve(double, penalty, Limits(1e-5, 20_000), start=double.zeros())
    print(f"least objective {best.objective:.7f}, duality gap {best.gap:.1e}")
    target = best.objective * (1 + WITHIN)
    solvers: dict[str, Callable[[Trace], None]] = {
        "ours": ours,
        "scipy L-BFGS-B with bounds": lbfgs,
        "plain proximal gradient": plain_proximal,
        **{f"Adam on ReLU weights, lr {rate:g}": adam(rate) for rate in RATES},
    }
    print(f"{'':<36} {'CPU s':>8} {'ratio':>8} {'objective':>12}")
    reference = float("nan")
    for solver, run in solvers.items():
        trace, seconds = Trace(problem, penalty, target), None
        try:
            run(trace)
        except ReachedError:
            seconds = trace.spent
        reference = trace.spent if solver == "ours" else reference
        print(_row(solver, trace, seconds, reference), flush=True)
    other = Trace(problem, penalty, float("-inf"))
    saga(other)
    seconds = next(spent for spent, reached in other.points if reached <= other.best * (1 + WITHIN))
    print(_row("saga, no sign constraint", other, seconds, reference))


def _row(name: str, trace: Trace, seconds: float | None, reference: float) -> str:
    if seconds is None:
        return f"{name:<36} {'never':>8} {'':>8} {trace.best:>12.6f}  (CPU s spent: {trace.spent:.1f})"
    return f"{name:<36} {seconds:>8.2f} {seconds / reference:>8.1f} {trace.best:>12.6f}"


def large(n: int, k: int, c: int, steps: int, folder: Path | None) -> None:
    """Fit in bounded memory, and print time per pass and peak RSS."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        scores = torch.from_file(f"{place}/scores", shared=True, size=n * k, dtype=torch.float16).view(n, k)
        labels = torch.arange(n) % c
        generator = torch_generator(0, "benchmark large")
        for rows in torch.arange(n).split(4096):
            scores[rows[0] : rows[-1] + 1] = synthetic_scores(labels[rows], k, c, generator).half()
        print(f"n = {n}, k = {k}, c = {c}: scores {scores.nbytes / MIB:.0f} MiB of float16 in a memory-mapped file")
        print(
            f"in memory they would be {4 * n * k / MIB:.0f} MiB of float32, and logits {4 * n * c / MIB:.0f} MiB each"
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{'':<52} {'wall s':>8} {'CPU s':>8}")
        _passes(scores, labels, c, steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak RSS {peak:.0f} MiB, {before:.0f} MiB before; with the file's pages, which the system may drop")


@contextmanager
def _clock(name: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{name:<52} {time.perf_counter() - wall:>8.2f} {time.process_time() - cpu:>8.2f}", flush=True)


def _passes(scores: Tensor, labels: Tensor, c: int, steps: int) -> None:
    with _clock("check of all scores, one pass"):
        problem = Problem(scores, labels, c)
    with _clock("gradient of the empty head, one pass, one product"):
        penalty = 0.5 * largest_penalty(problem)
    with _clock("loss and gradient of a full head, one pass, two"):
        problem.loss_and_gradient(problem.logits(problem.zeros() + 0.01))
    with _clock(f"solve from zero, {steps} steps, with the duality gap"):
        fit = solve(problem, penalty, Limits(1e-9, steps), start=problem.zeros())
    print(f"objective {fit.objective:.4f}, at most {fit.gap:.4f} above the least one")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.03)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--codes", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.large:
        large(given.images, given.codes, given.classes, given.steps, given.folder)
        return
    compare("synthetic", synthetic_problem())
    workspace = Workspace(Path.cwd())
    if workspace.features.is_dir() and workspace.codebook.is_dir():
        compare("artifacts/", pipeline_problem(workspace, given.temperature))
    else:
        print("artifacts/features or artifacts/codebook is absent: the pipeline's own problem is left out")


if __name__ == "__main__":
    main()
