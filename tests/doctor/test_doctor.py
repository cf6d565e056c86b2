"""Whole folders: thirty planted faults are found, a clean folder gives no alarm, and the same data the same bytes."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from protoquant.core.artifacts import digest_file
from protoquant.core.errors import DataError, UsageError
from protoquant.core.events import MessageEvent, ignore
from protoquant.data.config import PrepareConfig
from protoquant.doctor.diagnosis import Diagnosis
from protoquant.doctor.doctor import PAGE, DoctorResult, doctor
from tests.builders.faults import CLASSES, SIZES, paint, plant, save, write_clean


def look(root: Path, out: Path, *, workers: int = 2, **options) -> DoctorResult:
    given = {"features": None, "seed": 0, "on_event": ignore} | options
    config = PrepareConfig(reader="image_folder", root=str(root))
    return doctor(config, root=root, title=root.name, out=out, workers=workers, **given)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_clean(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    root = write_clean(tmp_path_factory.mktemp("faulty"))
    return root, plant(root), look(root, root.parent / "result-of-faulty")


def of_kind(diagnosis: Diagnosis, kind: str) -> list[set[str]]:
    return [{image.path for image in one.images} for one in diagnosis.findings if one.kind == kind]


def test_nothing_is_found_where_nothing_is_wrong(clean, tmp_path):
    found = look(clean, tmp_path / "out").diagnosis
    assert [one.sentence for one in found.findings] == []
    assert found.split_counts() == {split: len(CLASSES) * count for split, count in SIZES.items()}
    assert found.sentence() == "No finding in 128 images of 4 classes."
    page = (tmp_path / "out" / PAGE).read_text()
    assert page.count("<img") == 0
    assert "Same pixels in two splits" in page
    assert "Labels to look at" not in page  # which needs features
    assert json.loads((tmp_path / "out" / "doctor.json").read_text())["not_looked_for"] == ["label_suspect"]


def test_every_planted_fault_is_found_and_nothing_else(faulty):
    _, planted, result = faulty
    assert sum(map(len, planted.values())) == 30
    assert len(planted) >= 10
    for kind, faults in planted.items():
        found = of_kind(result.diagnosis, kind)
        assert not [fault for fault in faults if not any(fault <= paths for paths in found)], kind
        if kind not in {"tiny_class", "shortcut"}:  # those show examples
            extra = set().union(*found) - set().union(*faults)
            assert not {path for path in extra if "clip_" not in path}, kind  # frames in a row are near copies too
    assert set(map(str, result.diagnosis.by_kind)) == set(planted)
    assert len(of_kind(result.diagnosis, "shortcut")) <= 2  # the mark is in the corner and on the border


def test_the_numbers_name_each_image_by_path_and_digest(faulty):
    root, _, result = faulty
    numbers = json.loads((result.out / "doctor.json").read_text())
    images = [image for one in numbers["findings"] for image in one["images"]]
    assert len(images) > 40
    for image in images:
        assert image["sha256"] == digest_file(root / image["path"])
        assert image["class"] == image["path"].split("/")[1]
        assert image["split"] == image["path"].split("/")[0]
    assert sum(numbers["counts"].values()) == len(numbers["findings"])
    assert numbers["images"]["looked_at"] == numbers["images"]["listed"]
    shortcut = next(one for one in numbers["findings"] if one["kind"] == "shortcut")
    assert shortcut["chance"] == 0.25
    assert shortcut["number"] > 0.5
    assert {image["split"] for image in shortcut["images"]} == {"train"}


def test_the_suspects_are_the_images_in_question(faulty):
    _, planted, result = faulty
    with (result.out / "suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "sha256", "reason", "kind", "class", "split"]
    assert {row["kind"] for row in rows} == set(planted) - {"tiny_class", "shortcut"}
    assert all(row["reason"] for row in rows)


def test_the_same_data_give_the_same_bytes_whatever_the_number_of_workers(faulty, tmp_path):
    root, _, result = faulty
    again = look(root, tmp_path / "again", workers=5)
    assert sorted(bytes_of(again.out)) == ["doctor.html", "doctor.json", "manifest.json", "suspects.csv"]
    assert bytes_of(again.out) == bytes_of(result.out)


def test_splits_that_the_data_lack_are_cut_and_that_is_said(tmp_path):
    for seed in range(20):
        save(tmp_path / "data" / CLASSES[seed % 2] / f"{seed * 7919 % 997}.jpg", paint(seed, CLASSES[seed % 2]))
    found = look(tmp_path / "data", tmp_path / "out").diagnosis
    assert found.split_counts() == {"train": 12, "validation": 4, "test": 4}
    assert any("no split validation and test" in note for note in found.notes)
    assert "(cut)" in (tmp_path / "out" / PAGE).read_text()


def test_of_many_images_a_fixed_sample_is_looked_at_and_that_is_said_everywhere(clean, tmp_path):
    events: list[object] = []
    found = look(clean, tmp_path / "out", most=100, on_event=events.append).diagnosis
    again = look(clean, tmp_path / "again", most=100, workers=1).diagnosis
    assert [photo.path for photo in found.survey.kept] == [photo.path for photo in again.survey.kept]
    assert (found.survey.looked, found.survey.listed) == (100, 128)
    assert found.survey.counts["ant"] == SIZES
    said = "100 of 128 images"
    assert any(isinstance(event, MessageEvent) and said in event.text for event in events)
    assert said in (tmp_path / "out" / PAGE).read_text()
    assert said in (tmp_path / "out" / "doctor.json").read_text()


def test_a_class_without_a_train_image_is_told_where_prepare_refuses(tmp_path):
    for seed in range(12):
        save(tmp_path / "data/train" / CLASSES[seed % 2] / f"{seed * 7919 % 997}.jpg", paint(seed, CLASSES[seed % 2]))
        save(
            tmp_path / "data/test" / CLASSES[seed % 3] / f"{seed * 7919 % 991}.jpg", paint(50 + seed, CLASSES[seed % 3])
        )
    found = look(tmp_path / "data", tmp_path / "out").diagnosis
    sentences = [one.sentence for one in found.findings if one.kind == "class_missing"]
    assert sentences == ["class 'crab' has no image in train and validation"]


def test_names_are_escaped_on_the_page(tmp_path):
    evil = '<b onclick="x">&\'{{ 7 * 7 }}'
    for seed in range(8):
        save(tmp_path / "data" / (evil if seed % 2 else "plain") / f"{seed}<i>.jpg", paint(seed, "ant", 64, 64))
    look(tmp_path / "data", tmp_path / "out")
    page = (tmp_path / "out" / PAGE).read_text()
    assert "<img" in page
    assert "<b onclick" not in page
    assert "<i>" not in page
    assert "&lt;b onclick=&#34;x&#34;&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_no_other_folder_is_replaced(clean, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="holds other things"):
        look(clean, tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        look(clean, tmp_path / "file")


def test_data_without_a_usable_image_end_in_one_line(tmp_path):
    (tmp_path / "data/ant").mkdir(parents=True)
    with pytest.raises(DataError, match="no images under"):
        look(tmp_path / "data", tmp_path / "out")
    (tmp_path / "data/ant/a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="left out: 1 zero_bytes"):
        look(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_went_away_is_named_on_the_page(tmp_path, monkeypatch):
    for seed in range(8):
        save(tmp_path / "data" / CLASSES[seed % 2] / f"{seed}.jpg", paint(seed, CLASSES[seed % 2], 64, 64))

    def lost(*_: object, **__: object) -> Image.Image:
        from protoquant.data.quarantine import ImageError, Reason

        raise ImageError("x", Reason.MISSING, "is missing")

    monkeypatch.setattr("protoquant.doctor.pictures.decode_image", lost)
    look(tmp_path / "data", tmp_path / "out")
    page = (tmp_path / "out" / PAGE).read_text()
    assert "<img" not in page
    assert "ant/0.jpg" in page.replace("<wbr>", "")


def test_what_a_person_excluded_is_not_named_again(faulty, tmp_path):
    root, _, result = faulty
    told = []
    again = look(root, tmp_path / "out", exclude=result.out / "suspects.csv", on_event=told.append).diagnosis
    with (result.out / "suspects.csv").open() as file:
        excluded = {row["path"] for row in csv.DictReader(file)}
    assert excluded
    named = {image.path for one in again.findings for image in one.images}
    assert not excluded & {path for path in named if path not in of_kind_paths(again, "set_aside")}
    assert any("excluded by hand (prepare.exclude)" in one.text for one in told if isinstance(one, MessageEvent))


def of_kind_paths(diagnosis: Diagnosis, kind: str) -> set[str]:
    return set().union(*of_kind(diagnosis, kind))
