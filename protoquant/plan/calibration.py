"""Measures how fast this machine is: times the real parts of the stages for some seconds at the real shapes."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from protoquant.codebook.codebook import Codebook, Space
from protoquant.codebook.competition import competition, pooled
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.matching import Matcher
from protoquant.codebook.probe import fit_probe
from protoquant.codebook.seeding.class_aware import seed_class
from protoquant.codebook.seeding.size import typical_cells
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.fit import layer_weights
from protoquant.codebook.space.layer_space import fit_layer_space
from protoquant.codebook.tokens import TensorSource
from protoquant.core.artifacts import digest_bytes
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import ExtractConfig
from protoquant.features.decode import Source
from protoquant.features.store.shards import ShardJob, ShardWorker
from protoquant.features.tokens import LayeredTokens, PatchTokens
from protoquant.head.config import JointConfig, TrainConfig
from protoquant.head.joint import joint_epochs
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve
from protoquant.plan.sizes import DatasetCounts, Shape, Sizes

_PARTS = 7
_STEPS = 5
_MADE = (500, 375)  # pixels of generated photos, width and height; about ImageNet's mean


@dataclass(frozen=True)
class Rates:
    """Seconds that one process of this machine takes.

    Attributes:
        extract: Per image, from file to tokens.
        pooled: For the linear probe, per image and step.
        seeding: To seed the codes of one class, or all codes if seeding ignores classes.
        match: To find the nearest code of one token.
        score: For the presence scores of an image at all temperatures.
        solve: For a step of the head's solver, per image.
        joint: Per image of joint training; 0 without joint training.
        photos: The images that extract was timed on, in words.
    """

    extract: float
    pooled: float
    seeding: float
    match: float
    score: float
    solve: float
    joint: float
    photos: str

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Sections:
    """The sections of params.yaml that decide what the stages do."""

    extract: ExtractConfig
    quantize: QuantizeConfig
    train: TrainConfig


def calibrate(
    sections: Sections,
    backbone: Backbone,
    photos: Sequence[Source],
    counts: DatasetCounts,
    sizes: Sizes,
    *,
    seconds: float,
    workers: int,
) -> Rates:
    """Time every part for about its share of the seconds; only a temporary folder is written to.

    Args:
        sections: The settings.
        backbone: The backbone, on the device to compute on.
        photos: Prepared images; if empty, photos are generated.
        counts: How many images and classes there will be.
        sizes: The sizes that follow from these settings.
        seconds: Time in all; it is exceeded if parts are slow at the real shapes, since each runs at least once.
        workers: Threads that decode images.
    """
    budget, quantize, train = seconds / _PARTS, sections.quantize, sections.train
    shape = Shape(backbone.shapes).only(quantize.layers)
    draw = torch.Generator().manual_seed(0)
    device = backbone.device
    codes = normalize(torch.randn(sizes.k, shape.d, generator=draw)).to(device)
    tokens = _tokens(shape, train.batch, draw).to(device)
    few, codebook = tokens[: max(1, 1_024 // shape.t)], Codebook(codes, _space(quantize, tokens))
    matcher = Matcher(codes, "cosine")

    def match() -> object:
        return matcher.nearest(codebook.norm.units(few).flatten(0, 1))

    def score() -> object:
        similarity = codebook.similarity(tokens)
        return [pooled(competition(similarity, temperature)) for temperature in train.temperatures]

    with torch.inference_mode():
        found = {
            "match": _seconds(match, budget) / (len(few) * shape.t),
            "score": _seconds(score, budget) / train.batch,
            "seeding": _seeding(quantize, counts, shape, sizes.k, device=device, budget=budget),
            "solve": _solving(counts, sizes.k, draw, device, budget),
        }
    joint = (
        0.0 if train.joint is None else _joint(train.joint, codebook, tokens, counts.classes, draw=draw, budget=budget)
    )
    probe = _pooled(counts, shape.d, draw, device, budget)
    extract, what = _extracting(sections.extract, backbone, photos, 2 * budget, workers)
    return Rates(extract=extract, pooled=probe, joint=joint, photos=what, **found)


def _tokens(shape: Shape, n: int, draw: torch.Generator) -> PatchTokens:
    """Random tokens of the layers."""
    maps = tuple(torch.randn(n, layer.t, layer.d, generator=draw) for layer in shape.layers)
    names, grids = (tuple(getattr(layer, what) for layer in shape.layers) for what in ("name", "grid"))
    return maps[0] if len(maps) == 1 else LayeredTokens(maps, grids, names)


def _space(config: QuantizeConfig, tokens: PatchTokens) -> Space:
    if not isinstance(tokens, LayeredTokens):
        return FeatureNorm("l2")
    return fit_layer_space(lambda: [tokens], layer_weights(config, len(tokens.maps)), tokens.maps[0].device)


def _seconds(work: Callable[[], object], budget: float) -> float:
    """Return the mean seconds of a call, after one to warm up: as many calls as fit the budget, at least one."""
    work()
    started = time.perf_counter()
    calls = 0
    while calls == 0 or time.perf_counter() - started < budget:
        work()
        calls += 1
    return (time.perf_counter() - started) / calls


def _seeding(
    config: QuantizeConfig, counts: DatasetCounts, shape: Shape, k: int, *, device: torch.device, budget: float
) -> float:
    """Time the seeding of one class with these settings, on tokens clustered around centres as real ones are."""
    aware = config.seeding == "class_aware"
    codes = max(1, k // counts.classes) if aware else k
    of_class = max(1, counts.train // counts.classes) * typical_cells(config.seeding_share, shape.t)
    m = max(codes, min(config.seeding_tokens, of_class if aware else counts.train * shape.t))
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(2 * codes, shape.d, generator=draw)
    near = centres[torch.randint(2 * codes, (m,), generator=draw)]
    vectors = normalize(near + torch.randn(m, shape.d, generator=draw)).to(device)
    if not aware:
        config = config.model_copy(update={"seeding_epochs": 1})
    return _seconds(lambda: seed_class(config, vectors, codes, torch.Generator().manual_seed(0)), budget)


def _solving(counts: DatasetCounts, k: int, draw: torch.Generator, device: torch.device, budget: float) -> float:
    """Time some solver steps on a few images; the cost of a step grows with their number."""
    n = min(counts.train, max(64, 20_000_000 // max(k, counts.classes)))
    scores = torch.rand(n, k, generator=draw).to(device)
    labels = torch.randint(counts.classes, (n,), generator=draw).to(device)
    problem = Problem(scores, labels, counts.classes)
    limits = Limits(1e-12, _STEPS)
    return _seconds(lambda: solve(problem, 0.0, limits, start=problem.zeros(), ridge=0.1), budget) / _STEPS / n


def _joint(
    config: JointConfig, codebook: Codebook, tokens: PatchTokens, classes: int, *, draw: torch.Generator, budget: float
) -> float:
    """Time joint training of codes and head on one batch."""
    n = config.batch
    values = tokens[torch.arange(n) % len(tokens)].cpu()
    # Tokens of several layers are picked by image as a tensor is.
    source = TensorSource(cast("Tensor", values), torch.arange(n) % classes)
    head = torch.rand(classes, codebook.k, generator=draw)
    once = config.model_copy(update={"epochs": 1})

    def work() -> object:
        views = [source, source] if config.steadiness else [source]
        return next(joint_epochs(views, codebook, head, 0.05, config=once, class_weights=None, generator=draw))

    return _seconds(work, budget) / n


def _pooled(counts: DatasetCounts, d: int, draw: torch.Generator, device: torch.device, budget: float) -> float:
    """Time some steps of the linear probe on a few images."""
    n = max(counts.classes, min(counts.train, 4_096))
    rows = torch.randn(n, d, generator=draw).to(device)
    labels = (torch.arange(n) % counts.classes).to(device)
    few = rows[: counts.classes], labels[: counts.classes]

    def work() -> object:
        return fit_probe(rows, labels, *few, penalties=(1e-9,), iterations=_STEPS)

    return _seconds(work, budget) / _STEPS / n


def _extracting(
    config: ExtractConfig, backbone: Backbone, photos: Sequence[Source], budget: float, workers: int
) -> tuple[float, str]:
    """Time the decoding and extraction of prepared or generated photos into a temporary cache."""
    with tempfile.TemporaryDirectory() as folder:
        what = f"{len(photos)} prepared images"
        if not photos:
            photos = _make_photos(Path(folder), 8 * config.batch)
            what = f"{len(photos)} made JPEGs of {_MADE[0]} x {_MADE[1]} pixels"
        worker = ShardWorker(config, backbone, Path(folder) / "cache", workers)
        size, done, started = 2 * config.batch, 0, 0.0
        try:
            for number, start in enumerate(range(0, len(photos), size)):
                worker(ShardJob(photos[start : start + size]))
                if number == 0:  # the first job warms up
                    started = time.perf_counter()
                    continue
                done += len(photos[start : start + size])
                if time.perf_counter() - started > budget:
                    break
            seconds = time.perf_counter() - started
            if done == 0:
                started = time.perf_counter()
                done = len(photos)
                worker(ShardJob(list(reversed(photos))))
                seconds = time.perf_counter() - started
        finally:
            worker.close()
    return seconds / done, what


def _make_photos(folder: Path, count: int) -> list[Source]:
    """Generate photos with edges and noise that are as hard to decode as real ones."""
    draw = np.random.default_rng(0)
    photos = []
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(_MADE)
        noisy = np.clip(np.asarray(coarse, dtype=np.int16) + draw.integers(-12, 13, (_MADE[1], _MADE[0], 3)), 0, 255)
        held = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(held, "JPEG", quality=90)
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(held.getvalue())
        photos.append(Source(path.name, path, digest_bytes(held.getvalue()), 0))
    return photos
