"""Time the head path against the paper's way, on the same presence scores.

Ours: ten sparsities, one after the other, by accelerated proximal gradient. The paper's way: one sparsity, ReLU
weights from N(1, 0.1), cross-entropy and the same L1 penalty, Adam on mini-batches for 60 epochs. The objective of
both is measured on all train images, with the same code, in float64. Times are CPU seconds of all threads, so that
other work on the machine does not count.

Run: python benchmarks/head.py [--epochs 60] [--threads 2]
Takes artifacts/features and artifacts/codebook where they are, else a synthetic problem; it says which.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from protoquant.codebook.codebook import Codebook
from protoquant.core.seeding import torch_generator
from protoquant.core.workspace import Workspace
from protoquant.features.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.head.presence import presence
from protoquant.head.problem import Limits, Problem
from protoquant.head.proximal import solve
from protoquant.head.regularisation import largest_penalty, penalty_path, solve_path

POINTS, RATIO, LIMITS = 10, 0.01, Limits(TrainConfig().solver_tolerance, TrainConfig().max_iterations)
BATCH, RATES = 128, (0.01, 0.05)


def pipeline_problem(workspace: Workspace, temperature: float) -> Problem:
    """Presence scores of the pipeline's own train split."""
    store, codebook = FeatureStore.open(workspace.features / "train"), Codebook.open(workspace.codebook)
    scores = torch.cat(
        [presence(part, codebook, temperature).scores for _, shard in store.shards() for part in shard.split(32)]
    )
    return Problem(scores, store.labels, int(store.labels.max()) + 1)


def synthetic_problem(n: int = 1500, per_class: int = 10, c: int = 50) -> Problem:
    """Scores like those of a class-aware codebook: a class's own codes are more often present, none is certain."""
    generator = torch_generator(0, "benchmark head")
    labels = torch.arange(n) % c
    own = torch.zeros(n, c * per_class)
    own.view(n, c, per_class)[torch.arange(n), labels] = 1
    other = torch.rand(n, c * per_class, generator=generator) < 0.1
    strength = torch.rand(n, c * per_class, generator=generator).square()
    return Problem(strength * (0.7 * own + 0.5 * other).clamp(max=1) + 0.01 * strength, labels, c)


def objective(problem: Problem, weights: Tensor, penalty: float) -> float:
    """Mean cross-entropy + penalty / c * sum of weights, in float64."""
    logits = problem.scores.double() @ weights.double().T
    return float(functional.cross_entropy(logits, problem.labels) + penalty / problem.classes * weights.double().sum())


def adam(problem: Problem, penalty: float, epochs: int, rate: float) -> Tensor:
    """The paper's way: one penalty."""
    generator = torch_generator(0, "benchmark adam")
    weights = torch.randn(problem.classes, problem.k, generator=generator).mul_(0.1).add_(1).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=rate)
    for _ in range(epochs):
        for rows in torch.randperm(problem.n, generator=generator).split(BATCH):
            positive = weights.relu()
            loss = functional.cross_entropy(problem.scores[rows] @ positive.T, problem.labels[rows])
            optimizer.zero_grad()
            (loss + penalty / problem.classes * positive.sum()).backward()
            optimizer.step()
    return weights.detach().relu()


def row(name: str, seconds: float, value: float, problem: Problem, weights: Tensor) -> str:
    """One line of the table."""
    right = float((problem.scores @ weights.T).argmax(dim=1).eq(problem.labels).float().mean())
    size = float((weights > 0).sum()) / problem.classes
    return f"{name:<44} {seconds:>8.2f} {value:>11.5f} {size:>10.1f} {right:>10.4f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.03)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    workspace = Workspace(Path.cwd())
    real = workspace.features.is_dir() and workspace.codebook.is_dir()
    problem = pipeline_problem(workspace, given.temperature) if real else synthetic_problem()
    source = "artifacts/features and artifacts/codebook" if real else "a synthetic problem (artifacts/ is absent)"
    print(f"on {source}: n = {problem.n}, k = {problem.k}, c = {problem.classes}; {given.threads} threads")
    print(f"{'':<44} {'CPU s':>8} {'objective':>11} {'per class':>10} {'train top1':>10}")
    began = time.process_time()
    path = list(solve_path(problem, penalty_path(largest_penalty(problem), RATIO, POINTS), LIMITS))
    spent = time.process_time() - began
    middle = path[POINTS // 2]
    ours = objective(problem, middle.weights, middle.penalty)
    print(row(f"ours, {POINTS} sparsities (objective of the 6th)", spent, ours, problem, middle.weights))
    began = time.process_time()
    alone = solve(problem, middle.penalty, LIMITS, start=problem.zeros())
    took = time.process_time() - began
    print(
        row(
            "ours, the 6th alone, from zero",
            took,
            objective(problem, alone.weights, middle.penalty),
            problem,
            alone.weights,
        )
    )
    for rate in RATES:
        began = time.process_time()
        weights = adam(problem, middle.penalty, given.epochs, rate)
        theirs, took = objective(problem, weights, middle.penalty), time.process_time() - began
        print(row(f"Adam, lr {rate:g}, {given.epochs} epochs, the 6th alone", took, theirs, problem, weights))
        print(f"{'  ratio to ours (above 1: ours is better)':<44} {took / spent:>8.2f} {theirs / ours:>11.3f}")


if __name__ == "__main__":
    main()
