"""The partbirds reader: files, listing, and independence from the number of workers."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ConfigError, ProtoQuantError, UsageError
from protoquant.core.events import Event, ProgressEvent, ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.partbirds.render import render
from protoquant.data.partbirds.scene import sample_scene
from protoquant.data.partbirds.spec import PARTS, PartBirdsSpec, bird_classes
from protoquant.data.parts.labels import unpack_labels
from protoquant.data.parts.table import PartTable
from protoquant.data.prepare import prepare
from protoquant.data.readers import partbirds
from protoquant.data.readers.listing import Listing
from protoquant.data.readers.partbirds import read

SPEC = PartBirdsSpec(classes=2, train=3, validation=1, test=1, size=64, seed=4)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class Read:
    """A spec file, and what one worker made of it."""

    spec_file: Path
    listing: Listing
    events: list[Event]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partbirds")
    file, events = folder / "birds.yaml", []
    file.write_text("".join(f"{key}: {value}\n" for key, value in SPEC.model_dump().items()))
    listing = read(file, into=folder / "out", config=PrepareConfig(), workers=1, on_event=events.append)
    return Read(file, listing, events)


def test_it_lists_every_image_it_writes(once):
    listing = once.listing
    assert sorted(listing.frame["path"]) == sorted(digests(listing.image_root))
    assert listing.frame["split"].value_counts().to_dict() == {"train": 6, "test": 2, "validation": 2}
    names = [bird.name for bird in bird_classes(SPEC)]
    assert listing.class_names() == tuple(names)
    first = {"path": f"train/{names[0]}/0000.png", "class_name": names[0], "split": "train"}
    assert listing.frame.iloc[0].to_dict() == first
    assert once.events[-1] == ProgressEvent("render", 10, 10, "images")


def test_a_file_holds_the_pixels_of_its_scene(once):
    name = bird_classes(SPEC)[1].name
    with Image.open(once.listing.image_root / "train" / name / "0002.png") as image:
        assert image.mode == "RGB"
        assert image.tobytes() == render(sample_scene(SPEC, 1, "train", 2)).image.tobytes()


def test_masks_number_the_parts_and_the_body(once):
    parts, name = once.listing.parts, bird_classes(SPEC)[1].name
    assert (parts.schema.form, parts.schema.parts, parts.schema.body) == ("masks", PARTS, "body")
    bird = bird_classes(SPEC)[1]
    assert parts.schema.variants[name]["wing"] == f"{bird.wing.shape} {bird.wing.colour} {bird.wing.accent}"
    assert list(parts.annotated) == list(once.listing.frame["path"])
    assert parts.interventions is None
    labels = unpack_labels(parts.labels(f"train/{name}/0002.png"))
    masks = render(sample_scene(SPEC, 1, "train", 2)).part_masks
    for number, part in enumerate((*PARTS, "body"), start=1):
        assert np.array_equal(labels == number, masks[part])


def test_interventions_are_drawn_on_demand_and_kept_beside_the_parts(once, tmp_path):
    small = SPEC.model_copy(update={"train": 1})
    (tmp_path / "birds.yaml").write_text("".join(f"{key}: {value}\n" for key, value in small.model_dump().items()))
    images, parts = tmp_path / "images", tmp_path / "parts"
    config = PrepareConfig(interventions=True)
    prepare(config, root=tmp_path / "birds.yaml", out=images, parts=parts, seed=0, on_event=ignore)
    test = PartTable.open(parts, tmp_path / "absent").split("test")
    name, scene = bird_classes(SPEC)[1].name, sample_scene(SPEC, 1, "test", 0)
    own = test.interventions.query("image_id == @image", local_dict={"image": f"test/{name}/0000.png"})
    assert len(own) == 31 + len(scene.objects)
    changes = [("parts", "eye+tail", {"without_parts": frozenset({"eye", "tail"})})]
    changes += [("object", str(n), {"without_objects": frozenset({n})}) for n in range(len(scene.objects))]
    for kind, removed, options in changes:
        (path,) = own[(own["kind"] == kind) & (own["removed"] == removed)]["path"]
        assert test.intervention(path).tobytes() == render(scene, **options).image.tobytes()
    assert sorted(path.name for path in (images / "test").iterdir() if path.is_dir()) == sorted(
        bird.name for bird in bird_classes(SPEC)
    )
    plain = tmp_path / "plain"
    spec = tmp_path / "birds.yaml"
    prepare(PrepareConfig(), root=spec, out=plain, parts=tmp_path / "other", seed=0, on_event=ignore)
    assert artifact_digest(plain) == artifact_digest(images), "else features are computed again"
    assert not (images / "drawn").exists()
    assert open_artifact(parts / "test", "parts").extra["drawn"]


def test_the_bytes_do_not_depend_on_the_number_of_workers(once, tmp_path):
    read(once.spec_file, into=tmp_path / "out", config=PrepareConfig(), workers=2, on_event=ignore)
    assert digests(tmp_path / "out") == digests(once.listing.image_root)


def test_a_worker_that_is_ended_is_one_line(once, tmp_path, monkeypatch):
    class BrokenPool(ThreadPoolExecutor):
        def __init__(self, workers, mp_context):
            super().__init__(workers)

        def map(self, *arguments, **options):
            raise BrokenProcessPool

    monkeypatch.setattr(partbirds, "ProcessPoolExecutor", BrokenPool)
    with pytest.raises(ProtoQuantError, match="was ended; set PROTOQUANT_WORKERS=1"):
        read(once.spec_file, into=tmp_path / "out", config=PrepareConfig(), workers=2, on_event=ignore)


def test_a_wrong_spec_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="no spec file"):
        read(tmp_path / "absent.yaml", into=tmp_path / "out", config=PrepareConfig(), workers=1, on_event=ignore)
    (tmp_path / "wrong.yaml").write_text("size: -3")
    with pytest.raises(ConfigError, match=r"size must be an integer >= 64 and <= 1024, got -3"):
        read(tmp_path / "wrong.yaml", into=tmp_path / "out", config=PrepareConfig(), workers=1, on_event=ignore)
    assert not (tmp_path / "out").exists()
