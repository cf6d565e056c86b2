from dataclasses import replace

import pytest
import torch

from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from tests.builders.training import codebook, features, images, inputs  # noqa: F401  fixtures

CPU = torch.device("cpu")


@pytest.fixture
def path(features, images, codebook, tmp_path):
    """A bundle with a dense head."""
    config = TrainConfig(
        codes="free",
        mixture=None,
        temperature=0.1,
        solver="proximal",
        budget=None,
        choice=None,
        joint=None,
        points=4,
        ratio=0.001,
        tolerance=0.0,
        refit=1.0,
        crops=2,
        crop_context=0.0,
    )
    out = tmp_path / "bundle"
    arguments = {"images": images, "root": tmp_path, "features": features, "codebook": codebook, "out": out}
    train(config, **arguments, device=CPU, seed=0, on_event=ignore)
    return out


@pytest.fixture
def stores(features):
    return {name: FeatureStore.open(features / name) for name in ("train", "validation")}


@pytest.fixture
def bundle(path) -> Bundle:
    """The same with a head that uses all codes, so that there is something to prune."""
    opened = Bundle.open(path)
    generator = torch.Generator().manual_seed(5)
    head = torch.rand(opened.head.shape, generator=generator) + opened.head
    head[:, 7] = 0  # one code that no class uses
    return replace(opened, head=head)
