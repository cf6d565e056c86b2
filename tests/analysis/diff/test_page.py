import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from protoquant.analysis.diff.diff import compare
from protoquant.analysis.diff.page import IMAGES, PROTOTYPES, render
from protoquant.model.bundle import Bundle
from protoquant.model.provenance import crop_name
from tests.builders.bundles import answering, write_bundle
from tests.builders.specs import spec
from tests.builders.tokens import turned

HEAD = torch.tensor([[2.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}")


class Reader(HTMLParser):
    """All tags with their attributes, all text, and whether every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "wbr", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def written(out: Path, bundle: Bundle, crops: int) -> Bundle:
    """The same bundle, saved and opened again."""
    return Bundle.open(write_bundle(out, bundle, crops=crops))


def read(page: str) -> Reader:
    reader = Reader(page)
    assert reader.open == []
    return reader


def pair(**changed):
    before = answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0))
    after = answering(turned(20, 90, 290), HEAD * 1.5, (0, 1, 1, 1, 2, 1), **changed)
    return before, after


def test_every_number_stands_on_the_page(tmp_path) -> None:
    before, after = pair(params={"train": {"crop_context": 1.0, "budget": {"sizes": [1, 3]}}})
    before, after = written(tmp_path / "a", before, 3), written(tmp_path / "b", after, 3)
    diff = compare(before, after, names=("shop/1", "shop/2"), test=({"test.top1": 0.875}, {"test.top1": 0.625}))
    folder = tmp_path / "images"
    (folder / "validation").mkdir(parents=True)
    Image.new("RGB", (80, 60), "red").save(folder / "validation" / "3.png")
    page = render(diff, before, after, images=folder)
    reader = read(page)
    for text in (
        "shop/1 → shop/2",
        "66.7 %",
        "cosine 0.940",
        "0 → 0",
        "2.00 → 3.00",
        "train.budget.sizes",
        "[1, 3]",
        "Test: decides nothing",
        "87.5 %",
        "\N{MINUS SIGN}25.0",
        "1 kept",
        "1 moved",
        "1 new",
        "1 lost",
        "1 from right to wrong, 1 from wrong to right, 1 from one wrong class to another",
        "2 of 2",
        before.digest[:12],
        after.digest[:12],
    ):
        assert text in reader.text, text
    drawn = [attrs for tag, attrs in reader.tags if tag == "image"]
    assert len(drawn) == 3 * (2 + 1 + 1)
    assert len([tag for tag, _ in reader.tags if tag == "img"]) == 1  # of three changed images one has a file
    assert page == render(diff, before, after, images=folder)


def test_nothing_is_asked_of_a_network(tmp_path) -> None:
    before, after = (written(tmp_path / name, each, 1) for each, name in zip(pair(), "ab", strict=True))
    page = render(compare(before, after), before, after)
    for tag, attrs in read(page).tags:
        assert tag not in {"script", "link", "iframe"}
        for name in ("src", "href"):
            assert (attrs.get(name) or "data:").startswith("data:")
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_evil_names_are_text() -> None:
    ids = [f"{EVIL[0]}/{number}" for number in range(6)]
    patches = [[(EVIL[1], 0, 0)], [(EVIL[0], 0, 0)], [(EVIL[2], 0, 0)]]
    before, after = (
        replace(each, classes=EVIL)
        for each in (
            answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0), ids=ids, places=patches),
            answering(turned(20, 90, 290), HEAD, (0, 1, 1, 1, 2, 1), ids=ids, params={"a": {"b<i>": "<b>"}}),
        )
    )
    page = render(compare(before, after, names=(EVIL[0], EVIL[1])), before, after)
    reader = read(page)
    assert not {"script", "img", "b<i"} & {tag for tag, _ in reader.tags}
    assert "<script>alert(1)" not in page
    assert all("onerror" not in attrs for _, attrs in reader.tags)
    assert EVIL[0] in reader.text
    assert EVIL[1] in reader.text
    assert EVIL[2] in reader.text


def test_a_file_beside_the_folder_of_images_is_not_shown(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    ids = ["../secret.png", str(tmp_path / "secret.png"), "broken.png", "gone.png"]
    before, after = (answering(turned(0, 90, 200), HEAD, (answer,) * 4, labels=(0,) * 4, ids=ids) for answer in (1, 0))
    reader = read(render(compare(before, after), before, after, images=tmp_path / "images"))
    assert "img" not in {tag for tag, _ in reader.tags}
    assert "../secret.png" in reader.text


def test_equal_models_say_so_in_every_part() -> None:
    before, _ = pair()
    text = read(render(compare(before, before), before, before)).text
    assert text.count("No difference") == 4  # headline, settings, prototypes, images


@pytest.mark.parametrize(
    "after",
    [
        answering(turned(0, 90, 200), HEAD),  # no answers
        answering(turned(0, 90, 200), HEAD, (0,) * 6, backbone=spec("vit")),  # patches in common
        answering(turned(0, 90, 200), HEAD, (0,) * 6, backbone=spec("vit"), places=[[("x", 0, 0)]] * 3),  # none
        answering(turned(0, 90, 200), HEAD, (0,) * 6, classes=("owl", "finch", "kite")),
        answering(turned(0, 90, 200), HEAD, (0,) * 6, params={"train": {}}),
    ],
)
def test_what_cannot_be_compared_is_said(after) -> None:
    before, _ = pair()
    diff = compare(before, after)
    text = read(render(diff, before, after)).text
    assert all(note in text for note in diff.notes)


@pytest.mark.model
def test_a_large_diff_stays_small(tmp_path) -> None:
    rng = np.random.default_rng(0)
    c, k, n = 200, 2000, 2000
    classes = [f"{number:03d}_some_long_name_of_a_class" for number in range(c)]
    labels = np.arange(n) % c
    weights = torch.zeros(c, k)
    weights[torch.arange(k) % c, torch.arange(k)] = torch.rand(k)
    weights[(torch.arange(k) + 7) % c, torch.arange(k)] = torch.rand(k)
    models = []
    for side in range(2):
        codes = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(k, 16))).float())
        codes[: k // 2] = models[0].codebook.codes[: k // 2] if models else codes[: k // 2]
        model = answering(codes, weights, rng.integers(0, c, n), labels=labels, classes=classes)
        models.append(replace(model, path=None))
        (tmp_path / str(side) / "crops").mkdir(parents=True)
    diff = compare(*models)
    noise = Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    noise.save(tmp_path / "noise.png")
    for change in diff.prototypes:
        for side, prototype in enumerate((change.before, change.after)):
            for rank in range(3 if prototype else 0):
                (tmp_path / str(side) / "crops" / crop_name(prototype.code, rank)).hardlink_to(tmp_path / "noise.png")
    (tmp_path / "validation").mkdir()
    for number in range(n):
        (tmp_path / "validation" / f"{number}.png").hardlink_to(tmp_path / "noise.png")
    opened = [replace(model, path=tmp_path / str(side)) for side, model in enumerate(models)]
    page = render(diff, *opened, images=tmp_path)
    assert len(page.encode()) < 5_000_000
    reader = read(page)
    assert sum(tag == "img" for tag, _ in reader.tags) == IMAGES
    assert f"{len(diff.images) - IMAGES:,} more images changed" in reader.text
    assert f"{diff.verdicts()['lost'] - PROTOTYPES:,} more prototypes are lost" in reader.text
    assert "140 more classes changed less" in reader.text
