"""Time k-means at a large size against faiss and scikit-learn, to the same cosine error.

Tokens are synthetic: twice as many centres as codes, random directions, with sizes that fall as 1 / (rank + 20);
a token is the direction of its centre plus noise of 0.8 times its length, stored in float16. All start from the
same codes, random tokens. Ours: spherical k-means, codes moving after each batch. faiss: Kmeans, spherical.
scikit-learn: MiniBatchKMeans, in batches of as many tokens as codes, the fewest that partial_fit takes, its codes
read as directions. The error is the mean of 1 - cosine with the nearest code over a fixed sample, outside of the
clock. Ours and scikit-learn's read the float16 tokens on the clock, faiss gets all of them in float32 before. A row
shows the last error, and the time of the first record as good as the worst of the three last errors, then as the second
worst; ours and faiss have a record for each pass, scikit-learn for each tenth of one. Times are CPU seconds of all
threads, so that other work on the machine does not count.

Run: python benchmarks/kmeans.py [--tokens 500000] [--dimensions 1280] [--codes 2048] [--threads 2]
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from protoquant.codebook.learners.kmeans import kmeans
from protoquant.codebook.matching import nearest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from protoquant.core.seeding import torch_generator

NOISE, CHUNK, SAMPLE = 0.8, 8_192, 10_000


@dataclass(frozen=True)
class Run:
    """A learner's records, (CPU seconds, error) after each part of its work, and its passes over the tokens."""

    name: str
    records: tuple[tuple[float, float], ...]
    passes: int

    def seconds_to(self, error: float) -> float | None:
        """Return the CPU seconds of the first record at least that good; None if there is none."""
        return next((seconds for seconds, reached in self.records if reached <= error), None)


def synthetic_tokens(n: int, d: int, centres: int) -> Tensor:
    """Draw clustered unit tokens in float16 (n, d)."""
    generator = torch_generator(0, "benchmark k-means")
    directions = functional.normalize(torch.randn(centres, d, generator=generator), dim=1)
    chances = 1.0 / (torch.arange(centres) + 20.0)
    tokens = torch.empty(n, d, dtype=torch.float16)
    for part in tokens.split(CHUNK):
        own = torch.multinomial(chances, len(part), replacement=True, generator=generator)
        noise = torch.randn(len(part), d, generator=generator) * (NOISE / d**0.5)
        part.copy_(functional.normalize(directions[own] + noise, dim=1))
    return tokens


def record(name: str, passes: int, steps: Iterator[Tensor], error: Callable[[Tensor], float]) -> Run:
    """Run a learner step by step; only its steps are on the clock."""
    records: list[tuple[float, float]] = []
    spent, began = 0.0, time.process_time()
    for codes in steps:
        spent += time.process_time() - began
        records.append((spent, error(codes)))
        began = time.process_time()
    return Run(name, tuple(records), passes)


def ours(tokens: Tensor, start: Tensor, passes: int, batch: int) -> Iterator[Tensor]:
    """Yield the codes after each pass."""
    learned = kmeans(
        TensorSource.of_rows(tokens),
        start,
        FeatureNorm("l2"),
        metric="cosine",
        epochs=passes,
        batch=batch,
        update="batch",
        tolerance=0.0,
        generator=torch_generator(0, "benchmark order"),
    )
    for epoch in learned:
        yield epoch.codes


def with_faiss(wide: np.ndarray, start: Tensor, passes: int) -> Iterator[Tensor]:
    """Yield the codes after each iteration over float32 tokens."""
    import faiss

    k, d = start.shape
    codes = start.numpy()
    yield start
    for _ in range(passes):
        learner = faiss.Kmeans(d, k, niter=1, spherical=True, max_points_per_centroid=len(wide))
        learner.train(wide, init_centroids=codes)
        codes = learner.centroids
        yield torch.from_numpy(codes)


def with_sklearn(tokens: Tensor, start: Tensor, passes: int) -> Iterator[Tensor]:
    """Yield the codes after each tenth of a pass."""
    from sklearn.cluster import MiniBatchKMeans

    learner = MiniBatchKMeans(len(start), init=start.numpy(), n_init=1, random_state=0)
    generator = torch_generator(0, "benchmark order")
    yield start
    for _ in range(passes):
        batches = torch.randperm(len(tokens), generator=generator).split(max(1_024, len(start)))
        batches = [rows for rows in batches if len(rows) >= len(start)]
        for number, rows in enumerate(batches, start=1):
            learner.partial_fit(tokens[rows].float().numpy())
            if number % -(-len(batches) // 10) == 0 or number == len(batches):
                yield torch.from_numpy(learner.cluster_centers_)


def plain_rate(d: int, k: int) -> float:
    """Return the float32 operations per CPU second of torch.mm on blocks of tokens and all codes."""
    tokens, codes = torch.rand(1_024, d), torch.rand(k, d)
    torch.mm(tokens, codes.T)
    began = time.process_time()
    for _ in range(20):
        torch.mm(tokens, codes.T)
    return 20 * 2.0 * 1_024 * d * k / (time.process_time() - began)


def show(runs: list[Run], work: float, plain: float) -> None:
    """Print the table; work is the operations of one pass. Ratios are to the first run."""
    targets = sorted((run.records[-1][1] for run in runs), reverse=True)[:2]
    heads = "".join(f" {f's to {target:.4f}':>13} {'ratio':>6}" for target in targets)
    print(f"{'':<32} {'passes':>6} {'CPU s':>8} {'error':>8}{heads} {'of torch.mm':>12}")
    for run in runs:
        seconds, error = run.records[-1]
        line = f"{run.name:<32} {run.passes:>6} {seconds:>8.1f} {error:>8.4f}"
        for target in targets:
            reached, first = run.seconds_to(target), runs[0].seconds_to(target)
            ratio = f"{reached / first:.2f}" if reached is not None and first is not None else ""
            line += f" {'never' if reached is None else f'{reached:.1f}':>13} {ratio:>6}"
        print(f"{line} {run.passes * work / seconds / plain:>12.0%}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("tokens", 500_000), ("dimensions", 1_280), ("codes", 2_048), ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--passes", type=int, default=2, help="passes of each learner over all tokens")
    parser.add_argument("--batch", type=int, default=2_048, help="tokens of a batch of ours")
    given = parser.parse_args()
    n, d, k = given.tokens, given.dimensions, given.codes
    torch.set_num_threads(given.threads)
    tokens = synthetic_tokens(n, d, 2 * k)
    order = torch.randperm(n, generator=torch_generator(0, "benchmark sample"))
    sample = tokens[order[:SAMPLE]].float()
    start = functional.normalize(tokens[order[-k:]].float(), dim=1)

    def error(codes: Tensor) -> float:
        return float(1.0 - nearest(sample, codes, "cosine")[1].double().mean())

    print(
        f"{n:,} x {d:,} synthetic tokens, {k:,} codes, {given.threads} threads; error at the start {error(start):.4f}"
    )
    plain = plain_rate(d, k)
    runs = []
    with threadpool_limits(given.threads):
        steps = ours(tokens, start, given.passes, given.batch)
        runs.append(record(f"ours, batches of {given.batch:,}", given.passes, steps, error))
        steps = with_sklearn(tokens, start, given.passes)
        runs.append(record("scikit-learn MiniBatchKMeans", given.passes, steps, error))
        if find_spec("faiss") is None:
            print("faiss: not installed (pip install faiss-cpu), no row")
        else:
            steps = with_faiss(tokens.float().numpy(), start, given.passes)
            runs.append(record("faiss Kmeans(spherical=True)", given.passes, steps, error))
    show(runs, 2.0 * n * d * k, plain)
    print(
        f"of torch.mm: share of {plain / 1e9:.0f} GFLOP per CPU s, its rate for 1,024 tokens and all codes in this run"
    )


if __name__ == "__main__":
    main()
