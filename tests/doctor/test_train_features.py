"""Labels are doubted for train alone, whatever the features hold."""

import csv

import numpy as np
import pytest
import torch

from protoquant.core.errors import ArtifactError, DataError
from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.doctor.doctor import doctor
from protoquant.doctor.train_features import doubts_of
from tests.builders.faults import paint, save
from tests.builders.photos import photo
from tests.builders.tokens import write_split

CLASSES = ("ant", "bee", "crab")
WRONG = ("train/ant/14.jpg", "test/ant/15.jpg")
"""Bees labelled ants, in train and in test."""


def features(names, folder, truth):
    """A store in which every image has the tokens of its true class."""
    rng = np.random.default_rng(0)
    labels = torch.tensor([CLASSES.index(truth(name)) for name in names])
    tokens = torch.from_numpy(rng.normal(0, 0.3, (len(names), 4, 8))).float()
    tokens += 3 * torch.eye(8)[labels][:, None]
    return write_split(folder, tokens, labels, ids=names, grid=(2, 2))


def truth(name: str) -> str:
    return "bee" if name in WRONG else name.split("/")[1]


@pytest.fixture
def data(tmp_path):
    for number in range(60):
        split = "test" if number % 2 else "train"
        name = CLASSES[0 if number in {14, 15} else number % 3]
        save(tmp_path / "data" / split / name / f"{number}.jpg", paint(number, name))
    return tmp_path / "data"


def names_of(data, *splits):
    return sorted(path.relative_to(data).as_posix() for split in splits for path in (data / split).rglob("*.jpg"))


def look(data, features, out):
    config = PrepareConfig(reader="image_folder", root=str(data))
    return doctor(
        config, root=data, title="x", features=features, out=out, seed=0, workers=2, on_event=ignore
    ).diagnosis


def test_a_wrong_label_is_doubted_in_train_and_never_in_test(data, tmp_path):
    """Even with features of test images in the store: where the split is another, they must not be judged."""
    features(names_of(data, "train", "test"), tmp_path / "features/train", truth)
    found = look(data, tmp_path / "features", tmp_path / "out")
    doubted = [image for one in found.findings if one.kind == "label_suspect" for image in one.images]
    assert "train/ant/14.jpg" in {image.path for image in doubted}
    assert {image.split for image in doubted} == {"train"}
    with (tmp_path / "out/suspects.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "label_suspect"]
    assert [(row["path"], row["reason"]) for row in rows] == [("train/ant/14.jpg", "looks like 'bee'")]
    assert not any("not doubted" in note for note in found.notes)


def test_images_without_features_are_passed_over(data, tmp_path):
    doubts = doubts_of(features(names_of(data, "train")[:-5], tmp_path / "train", truth).path)
    photos = [photo(name, class_name=name.split("/")[1]) for name in names_of(data, "train")]
    assert [one.images[0].path for one in doubts(photos)] == ["train/ant/14.jpg"]


def test_features_of_other_images_are_refused_in_one_line(data, tmp_path):
    features(["train/x/1.jpg", "train/x/2.jpg"], tmp_path / "features/train", lambda _: "ant")
    with pytest.raises(DataError, match="has no train image of this data, such as train/ant/"):
        look(data, tmp_path / "features", tmp_path / "out")
    with pytest.raises(ArtifactError, match="no feature-store at"):
        look(data, tmp_path / "nothing", tmp_path / "out")
