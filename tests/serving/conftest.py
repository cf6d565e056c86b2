"""A tiny model with real code below it, and a source that leads where a test says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from protoquant.core.errors import ArtifactError
from protoquant.model.bundle import Bundle
from protoquant.model.classifier import Model
from protoquant.serving.versions import Served, Versions
from tests.builders.backbones import load_backbone
from tests.builders.bundles import write_bundle
from tests.builders.models import bundle_of
from tests.builders.pictures import picture


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    """Two bundles over one backbone; the second's head gives other scores."""
    folder = tmp_path_factory.mktemp("models")
    one = bundle_of(load_backbone(folder), picture(7, 96, 80))
    two = replace(one, head=2.0 * one.head)
    return write_bundle(folder / "one" / "bundle", one, crops=1), write_bundle(folder / "two" / "bundle", two, crops=1)


@pytest.fixture(scope="session")
def weights(bundles) -> Path:
    """Of the backbone of both."""
    return Path(str(Bundle.open(bundles[0]).backbone.weights.file))


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
