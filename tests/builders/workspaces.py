"""A workspace whose six stages have run: true artifacts of a few codes and images, and the numbers of its stages."""

from pathlib import Path

import pandas as pd
import torch

from protoquant.codebook.codebook import KIND as CODEBOOK
from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.artifacts import artifact_digest, write_json, writing
from protoquant.core.workspace import Workspace
from tests.builders.backbones import load_backbone
from tests.builders.bundles import bundle, plain_probe, write_bundle
from tests.builders.images import write_images
from tests.builders.specs import spec
from tests.builders.tokens import units

HEAD = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 0.5], [0.0, 0.0, 1.0, 1.0]])
PATH = pd.DataFrame({"penalty": [0.1, 0.01], "prototypes": [4, 9], "top1": [0.80, 0.85]})


def write_workspace(root: Path) -> Workspace:
    """Complete, but for the store of runs."""
    made = Workspace(root)
    write_images(made.images, {"train": 3, "validation": 3, "test": 3})
    with writing(made.codebook, CODEBOOK) as folder:
        Codebook(units(4, 8), FeatureNorm("l2")).save(folder)
        plain_probe(torch.zeros(3, 8)).save(folder)
        write_json(
            folder / "metrics.json", {"perplexity": 12.5, "probe": {"train": 1, "ready": True, "name": "linear"}}
        )
        (folder / "history.csv").write_text("epoch,perplexity,dead_share\n1,10.0,0.1\n2,12.5,\n")
    train(made)
    made.params.write_text("seed: 0\n")
    return made


def train(workspace: Workspace, seed: int = 0, *, weights: str | None = None) -> None:
    """Write a bundle whose codes are of a seed, and what is made from it; perhaps its weights are in a file."""
    metrics = {"validation": {"top1": 0.875}, "rule": "sparsest"}
    made = bundle(units(4, 8, seed), HEAD, backbone=spec(file=weights), metrics=metrics)
    write_bundle(workspace.bundle, made, candidates=PATH)
    evaluate(workspace)


def evaluate(workspace: Workspace, top1: float = 0.9) -> None:
    """Write test numbers of the bundle that is there, and the report on them."""
    inputs = {"bundle": artifact_digest(workspace.bundle)}
    accuracy = {"value": top1, "n": 40, "low": 0.8, "high": 0.95}
    test = {"top1": accuracy, "probe": {"top1": {"value": 0.95}}}
    with writing(workspace.evaluation, "evaluation", inputs) as folder:
        write_json(folder / "metrics.json", {"test": test, "size": {"global_size": 9, "class_size": 2.5}})
        (folder / "confusion.csv").write_text("actual,predicted\nwren,wren\n")
    inputs["evaluation"] = artifact_digest(workspace.evaluation)
    with writing(workspace.report, "report", inputs) as folder:
        (folder / "index.html").write_text("<p>report</p>")


def write_true_bundle(workspace: Workspace) -> Path:
    """A bundle of an untrained backbone with two codes, one for each of two classes; returns the file of weights."""
    backbone = load_backbone(workspace.root, "test_resnet")
    head = torch.tensor([[2.0, 0.0], [0.5, 3.0]])
    made = bundle(
        units(2, backbone.d),
        head,
        classes=("wren", "robin"),
        grid=backbone.grid,
        backbone=backbone.spec,
        metrics={"validation": {"top1": 0.875}},
    )
    write_bundle(workspace.bundle, made, candidates=PATH)
    evaluate(workspace)
    return Path(backbone.spec.weights.file)
