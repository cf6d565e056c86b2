"""A small run to report on: three classes of drawn images, one of them with a hostile name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import prepare
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.evaluate import evaluate
from tests.builders.bundles import bundle, plain_probe, write_bundle
from tests.builders.pictures import save
from tests.builders.specs import preprocessing, spec
from tests.builders.tokens import around, units, write_split

HOSTILE = "<script>alert('x') & \"q\""
CLASSES = (HOSTILE, "NA", "wren")
GRID, D, K = (3, 4), 10, 7
SIZES = {"train": 4, "validation": 2, "test": 5}
BACKBONE = spec(view=preprocessing((48, 64), (60, 80)))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All artifacts that visualize reads, and ``root``, where the images are; read only."""
    folder = tmp_path_factory.mktemp("run")
    root = folder / "photos"
    _draw_images(root)
    paths = {"images": folder / "images", "features": folder / "features", "codebook": folder / "codebook"}
    config = PrepareConfig.parse({"reader": "image_folder", "root": str(root), "min_side": 8})
    prepare(config, root=root, out=paths["images"], parts=folder / "parts", seed=0, on_event=ignore)
    table = ImageTable.open(paths["images"], root)
    codes = units(K, D)
    for split in SIZES:
        frame = table.split(split).frame
        labels = torch.tensor(frame["label"].to_numpy(copy=True))
        ids, tokens = list(frame["image_id"]), _tokens(codes, labels)
        write_split(paths["features"] / split, tokens, labels, ids=ids, grid=GRID, backbone=BACKBONE, shard=512)
    with writing(paths["codebook"], "codebook") as out:
        Codebook(codes, FeatureNorm("l2")).save(out)
        plain_probe(codes[:3].clone()).save(out)
    paths["bundle"] = folder / "bundle"
    _write_bundle(paths["bundle"], codes, list(table.split("train").frame["image_id"]))
    paths |= {"evaluation": folder / "evaluation", "metrics": folder / "metrics.json"}
    inputs = {name: paths[name] for name in ("images", "features", "codebook", "bundle", "metrics")}
    device = torch.device("cpu")
    config = EvaluateConfig(resamples=100, metrics=())
    evaluate(
        config,
        **inputs,
        root=root,
        parts=folder / "parts",
        out=paths["evaluation"],
        device=device,
        seed=0,
        on_event=ignore,
    )
    del paths["codebook"], paths["metrics"]
    return paths | {"root": root}


def _draw_images(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in SIZES.items():
        for label, name in enumerate(CLASSES):
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 90, (60, 80, 3), dtype=np.uint8))
                ImageDraw.Draw(image).ellipse([20, 15, 60, 50], fill=((label == 0) * 220, (label == 1) * 220, 120))
                save(root / split / name / f"{number} <img src=x onerror=alert(1)>.png", image)


def _tokens(codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Tokens around random codes, the first cell around the code of the class."""
    generator = torch.Generator().manual_seed(len(labels))
    shown = torch.randint(0, K, (len(labels), GRID[0] * GRID[1]), generator=generator)
    shown[:, 0] = labels
    return around(codes, shown, generator, noise=0.3, scale=1.0)


def _write_bundle(out: Path, codes: torch.Tensor, train: Sequence[str]) -> None:
    head = torch.zeros(3, K)
    head[0, 0], head[1, 1], head[2, 2], head[0, 3], head[2, 3], head[1, 5] = 3.0, 3.0, 3.0, 1.0, 2.0, 0.7
    patches = [
        (
            code,
            rank,
            train[(code + rank) % len(train)],
            (code + rank) % len(train) // 4,
            rank % 3,
            code % 4,
            0.9 - rank / 10,
        )
        for code in (0, 1, 2, 3, 5)
        for rank in range(3)
    ]
    candidates = pd.DataFrame(
        {
            "temperature": [0.1] * 3,
            "class_size": [1.0, 2.0, 4.0],
            "validation_top1": [0.6, 0.8, 0.9],
            "selected": [0, 1, 0],
        }
    )
    metrics = {"probe": {"validation": {"top1": 0.95}}, "validation": {"top1": 0.9}, "class_size": 2.0}
    given = {"classes": CLASSES, "grid": GRID, "backbone": BACKBONE, "patches": patches, "metrics": metrics}
    write_bundle(out, bundle(codes, head, **given), candidates=candidates)
