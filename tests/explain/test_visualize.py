"""The report as a file: complete, escaped, self-contained, the same bytes twice, and drawn by a real browser."""

import base64
import io
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protoquant.core.artifacts import artifact_digest, open_artifact, read_json, read_table, write_json, writing
from protoquant.core.errors import ArtifactError, DataError
from protoquant.core.events import ignore
from protoquant.evaluation.changes.perturb import PERTURBATIONS
from protoquant.evaluation.metrics.stability import MEASURES
from protoquant.explain.config import VisualizeConfig
from protoquant.explain.visualize import visualize
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle
from protoquant.model.presence import look
from protoquant.model.region import CellRegion, peak_region

CONFIG = VisualizeConfig(image_size=64, right=2, wrong=2, patches=2)
VOID = {"meta", "input", "image", "use", "rect", "line", "circle", "polyline", "br"}


class Reader(HTMLParser):
    """Collects elements and text, and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def draw(made: dict[str, Path], out: Path, config: VisualizeConfig = CONFIG, **changes: Any) -> str:
    """Visualize into a folder and read the page."""
    given: dict[str, Any] = {**made, **changes}
    return visualize(config, **given, out=out, on_event=ignore).page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page."""
    return draw(made, tmp_path_factory.mktemp("report") / "report")


@pytest.fixture(scope="module")
def page(html: str) -> Reader:
    """The page, read."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_nothing_is_loaded_from_anywhere(html: str, page: Reader) -> None:
    links = [value for _, given in page.elements for name, value in given.items() if name in ("href", "src")]
    assert all(link is not None and link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"https?://|url\(|@import|//cdn", html)
    assert {"link", "iframe", "object", "img"} & {name for name, _ in page.elements} == set()


def test_hostile_names_are_text(html: str, page: Reader) -> None:
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, given in page.elements for name in given)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "<script>alert('x') & \"q\"" in "".join(page.text)


def test_every_reference_has_its_picture(page: Reader) -> None:
    keys = {given["id"] for given in page.all("image") if "id" in given}
    used = {given["href"] for given in page.all("use")}
    assert used == {f"#{key}" for key in keys}
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids))
    anchors = {given["href"] for given in page.all("a")}
    assert anchors <= {f"#{name}" for name in ids}


def test_pictures_have_words(page: Reader) -> None:
    shown = [given for given in page.all("svg") if given.get("aria-hidden") != "true"]
    assert len(shown) > 20
    assert all(given.get("role") == "img" and given.get("aria-label") for given in shown)


def test_pictures_decode(page: Reader) -> None:
    for given in page.all("image"):
        kind, data = str(given["href"]).split(",", 1)
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert kind == f"data:image/{'webp' if 'id' in given else 'png'};base64"
        assert (picture.width, picture.height) == (64, 48) if "id" in given else picture.size == (56, 42)


def test_accounts_on_the_page_sum_to_the_score(html: str) -> None:
    accounts = re.findall(r'<section class="account">(.*?)</section>', html, re.DOTALL)
    assert len(accounts) >= 4
    for account in accounts:
        lines = re.findall(r"([\d.]+) \N{MULTIPLICATION SIGN} ([\d.]+) = <b>([\d.]+)</b>", account)
        rest = re.findall(r"further prototypes? <b>([\d.]+)</b>", account)
        logit = float(re.findall(r"score of the class <b>([\d.]+)</b>", account)[0])
        for score, weight, contribution in lines:
            assert float(score) * float(weight) == pytest.approx(float(contribution), abs=5e-3)
        assert sum(float(line[2]) for line in lines) + sum(map(float, rest)) == pytest.approx(logit, abs=4e-3)


def test_boxes_are_the_regions_of_the_contributions(made: dict[str, Path], html: str) -> None:
    contributions = read_table(made["evaluation"] / "contributions.parquet")
    regions = regions_of(made, contributions)
    shown = re.findall(
        r"prototype (\d+); its best cell is row (\d), column (\d)\">.*?"
        r"<rect class=\"halo\" x=\"([\d.]+)\" y=\"([\d.]+)\" width=\"([\d.]+)\" height=\"([\d.]+)\"",
        html,
        re.DOTALL,
    )
    assert len(shown) >= 6
    for code, row, col, *rect in shown:
        # The view is 64 x 48 pixels, the grid 3 x 4 cells: each cell is 16 x 16.
        left, top, width, height = (round(float(value) / 16) for value in rect)
        assert [16 * left, 16 * top, 16 * width, 16 * height] == pytest.approx(list(map(float, rect)), abs=0.3)
        assert (top, left, top + height, left + width) in regions[int(code), int(row) - 1, int(col) - 1]
    assert len({each[5:] for each in shown}) > 1, "every region is of one size"


def regions_of(made: dict[str, Path], contributions: pd.DataFrame) -> dict[tuple[int, int, int], set[CellRegion]]:
    """The regions of each code at each cell in any test image, from the stored tokens."""
    bundle, store = Bundle.open(made["bundle"]), FeatureStore.open(made["features"] / "test")
    shares = look(store.tokens(range(store.n)), bundle.codebook, bundle.temperature).shares
    found: dict[tuple[int, int, int], set[CellRegion]] = {}
    for row in contributions.to_dict("records"):
        code, cell = int(row["code"]), (int(row["row"]), int(row["col"]))
        image = shares[store.image_ids.index(row["image_id"]), :, code].reshape(bundle.grid).numpy()
        found.setdefault((code, *cell), set()).add(peak_region(image, cell))
    return found


def test_every_map_glows_at_its_best_cell(html: str) -> None:
    maps = re.findall(
        r"best cell is row (\d), column (\d)\">.*?<image href=\"data:image/png;base64,([^\"]+)\"",
        html,
        re.DOTALL,
    )
    assert len(maps) >= 6
    for row, col, data in maps:
        glow = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)[:, :, :3].sum(axis=2)
        # Maps are 56 x 42 pixels for a grid of 3 x 4 cells, pictures 64 x 48: compare the middles of the cells.
        middles = glow[7::14, 7::14]
        assert middles[int(row) - 1, int(col) - 1] >= middles.max() - 15
        assert middles.max() > middles.min() + 100


def test_numbers_of_metrics_stand_on_the_page(made: dict[str, Path], html: str) -> None:
    predictions = read_table(made["evaluation"] / "predictions.parquet")
    right = float(predictions["correct"].mean())
    assert f'<p class="value">{100 * right:.1f} %</p>' in html
    assert f"On {len(predictions)} test images of 3 classes" in html
    table = re.findall(r'<th scope="row">([^<]*)</th><td class="num" data-value="(\d+)">', html)
    assert [name for name, _ in table] == ["&lt;script&gt;alert(&#39;x&#39;) &amp; &#34;q&#34;", "NA", "wren"]
    assert sum(int(count) for _, count in table) == len(predictions)


def test_same_inputs_same_bytes(made: dict[str, Path], html: str, tmp_path: Path) -> None:
    assert draw(made, tmp_path / "again") == html
    assert str(tmp_path) not in html
    assert str(made["root"]) not in html
    assert open_artifact(tmp_path / "again", "report").inputs["bundle"] == artifact_digest(made["bundle"])


def test_less_can_be_shown(made: dict[str, Path], tmp_path: Path) -> None:
    config = VisualizeConfig(image_size=64, right=0, wrong=0, prototypes_per_class=1, max_prototypes=2, patches=1)
    html = draw(made, tmp_path / "small", config)
    assert html.count('<article class="card"') == 2
    assert "Shown are 2 of 5." in html
    assert 'id="explained"' not in html


def test_an_evaluation_of_another_bundle_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(made["bundle"], other)
    from protoquant.core.artifacts import writing

    with writing(other, "bundle", note="other") as folder:
        for file in made["bundle"].iterdir():
            if file.name != "manifest.json":
                shutil.copy(file, folder / file.name)
    with pytest.raises(ArtifactError, match="measured another bundle than the one given; run evaluate again"):
        draw(made, tmp_path / "report", bundle=other)
    assert not (tmp_path / "report").exists()


def test_missing_images_are_named(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.png"):
        draw(made, tmp_path / "report", root=tmp_path / "nowhere")
    assert not (tmp_path / "report").exists()


@pytest.mark.browser
def test_a_browser_draws_it_without_script_and_network(html: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None and os.environ.get("CI") != "true":
        pytest.skip("no Chromium on PATH")
    assert browser is not None, "CI needs Chromium on PATH: apt-get install chromium"
    file, shot = tmp_path / "index.html", tmp_path / "shot.png"
    file.write_text(re.sub(r"<script>.*</script>", "", html, flags=re.DOTALL), encoding="utf-8")
    quiet = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    call = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        *quiet.split(),
        f"--user-data-dir={tmp_path / 'user'}",
    ]
    call += ["--window-size=1280,3000", "--hide-scrollbars", f"--screenshot={shot}", file.as_uri()]
    subprocess.run(call, check=True, capture_output=True, timeout=300)
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape == (3000, 1280, 3)
    yellow = (abs(pixels - [0xFF, 0xD4, 0x3B]).sum(axis=2) < 12).sum()
    assert yellow > 200, "no box of an explained image was drawn"
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500, "no picture was drawn"


def test_stability_and_grounding_are_drawn(made: dict[str, Path], html: str, tmp_path: Path) -> None:
    assert "How near prototypes are to real patches" in html
    assert "Small changes of an image" not in html
    measured = with_stability(made["evaluation"], tmp_path / "evaluation")
    page = draw(made, tmp_path / "report", evaluation=measured)
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    text = " ".join(reader.text)
    assert "Small changes of an image" in text
    assert "the answer stays in 90.0 % of cases (80.0 to 95.0 %)" in " ".join(text.split())
    assert {"JPEG, quality 75, same answer: 95.0 %", "noise, found in the same cell: 75.0 %"} <= set(reader.text)


def with_stability(evaluation: Path, out: Path) -> Path:
    """A copy of an evaluation that measured stability too."""
    manifest = open_artifact(evaluation, "evaluation")
    rows = [
        f"{name},8,0.01,{0.95 - 0.01 * place},0.9,0.8,{0.79 - 0.01 * place}" for place, name in enumerate(PERTURBATIONS)
    ]
    numbers = read_json(evaluation / "metrics.json")
    known = {"value": 0.9, "n": 8, "low": 0.8, "high": 0.95}
    numbers["stability"] = dict.fromkeys(MEASURES, known)
    with writing(out, "evaluation", manifest.inputs, **manifest.extra) as folder:
        for file in evaluation.iterdir():
            if file.name not in ("manifest.json", "metrics.json"):
                shutil.copy(file, folder / file.name)
        (folder / "stability.csv").write_text("\n".join([",".join(["perturbation", "n", *MEASURES]), *rows, ""]))
        write_json(folder / "metrics.json", numbers)
    return out
