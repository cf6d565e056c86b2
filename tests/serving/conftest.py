"""A tiny model with real code below it, and a source that leads where a test says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.core.errors import ArtifactError
from protoquant.data.images import decode_image
from protoquant.features.backbone import Backbone
from protoquant.features.config import ExtractConfig
from protoquant.head.bundle import KIND, Bundle
from protoquant.head.provenance import COLUMNS, crop_name
from protoquant.model import Model
from protoquant.serving.versions import Served, Versions
from tests.serving.asking import photo

CLASSES = ("auk", "bee-eater", "crane")


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """As the service computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(timm.create_model("test_convnext").state_dict(), file)
    return file


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, weights) -> tuple[Path, Path]:
    """Two bundles over one backbone; the second's head gives other scores."""
    config = ExtractConfig(backbone="test_convnext", weights="file", weights_file=str(weights))
    backbone = Backbone.load(config, "cpu")
    tokens = backbone.features(backbone.batch([decode_image(photo(7))])).tokens
    cells = torch.linspace(0, tokens.shape[1] - 1, 6).long()
    codebook = Codebook(torch.nn.functional.normalize(tokens[0, cells]), FeatureNorm("l2"))
    head = torch.tensor([[2.0, 1.0, 0, 0, 0, 0], [0, 0, 3.0, 0.5, 0, 0], [0.7, 0, 0, 0, 4.0, 0]])
    rows = [
        {"code": code, "rank": 0, "image_id": "train/a.png", "label": 1, "row": 0, "col": 0, "cosine": 1.0}
        for code in range(5)
    ]
    made = []
    for name, factor in (("one", 1.0), ("two", 2.0)):
        bundle = Bundle(
            codebook=codebook,
            head=head * factor,
            temperature=0.05,
            classes=CLASSES,
            grid=backbone.grid,
            backbone=backbone.spec,
            params={},
            provenance=pd.DataFrame(rows).astype(COLUMNS),
            metrics={},
        )
        with writing(tmp_path_factory.mktemp(name) / "bundle", KIND) as folder:
            bundle.save(folder, pd.DataFrame({"selected": [1]}))
            (folder / "crops").mkdir()
            for code in range(5):
                Image.new("RGB", (8, 8)).save(folder / "crops" / crop_name(code, 0))
        made.append(tmp_path_factory.getbasetemp() / folder.parent.name / "bundle")
    return made[0], made[1]


@pytest.fixture(scope="session")
def models(bundles) -> tuple[Served, Served]:
    one, two = (Model.load(path) for path in bundles)
    return Served(one, "birds", "1", "a" * 64), Served(two, "birds", "2", "b" * 64)


class Shelf:
    """A source whose place a test sets; a place that is not there cannot be loaded."""

    moves = True

    def __init__(self, **places: Served):
        self.places = places
        self.at = next(iter(places), "")
        self.asked: list[str] = []

    def place(self) -> str:
        return self.at

    def load(self, place: str) -> Served:
        self.asked.append(place)
        if place not in self.places:
            raise ArtifactError(f"{place} is damaged")
        return self.places[place]


@pytest.fixture
def shelf(models) -> Shelf:
    return Shelf(one=models[0], two=models[1])


@pytest.fixture
def versions(shelf) -> Versions:
    made = Versions(shelf, every=3600.0)
    made.load()
    return made
