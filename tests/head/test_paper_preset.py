"""The paper's configuration, at a size for tests, from features to a bundle."""

from pathlib import Path

import torch

from protoquant.codebook.quantize import quantize
from protoquant.core.events import ignore
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.prune.apply import prune_trained
from protoquant.settings.presets import Preset
from protoquant.settings.settings import Settings

FOLDER = Path(__file__).parents[2] / "presets"


def test_the_paper_preset_trains_a_model_that_opens(features: Path, images: Path, tmp_path: Path) -> None:
    values = Preset.open(FOLDER, "paper").values
    small = {"size": 24, "epochs": 8, "gradient": {**values["quantize"]["gradient"], "warmup_epochs": 2, "lr": 0.05}}
    head = {"gradient": {**values["train"]["gradient"], "epochs": 20, "warmup_epochs": 3}}
    settings = Settings.parse(
        {
            "quantize": {**values["quantize"], **small},
            "train": {**values["train"], **head, "prune": {**values["train"]["prune"], "budget": 3}},
        }
    )
    cpu = torch.device("cpu")
    codebook, out = tmp_path / "codebook", tmp_path / "bundle"
    quantize(settings.quantize, features=features, out=codebook, device=cpu, seed=0, on_event=ignore)
    train(
        settings.train,
        images=images,
        root=tmp_path,
        features=features,
        codebook=codebook,
        out=out,
        device=cpu,
        seed=0,
        on_event=ignore,
        prune=prune_trained,
    )
    bundle = Bundle.open(out)
    assert int((bundle.head > 0).sum(dim=1).max()) <= 3
    assert bundle.codebook.k == len(bundle.prototypes) < 24
    assert bundle.metrics["validation"]["top1"] > 0.8
