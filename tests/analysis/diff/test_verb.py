"""The verb ``diff``, as a user types it."""

import json

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from protoquant.cli.remote.registry_diff import diff
from protoquant.core.errors import ArtifactError, UsageError
from tests.builders.bundles import answering, write_bundle
from tests.builders.tokens import turned

HEAD = torch.tensor([[2.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two bundles in folders of their own, and a picture of an image that they answer differently."""
    root = tmp_path_factory.mktemp("models")
    write_bundle(root / "one" / "bundle", answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0)), crops=1)
    write_bundle(root / "two" / "bundle", answering(turned(20, 90, 290), HEAD, (0, 1, 1, 1, 2, 1)), crops=1)
    (root / "artifacts" / "images" / "validation").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "artifacts" / "images" / "validation" / "3.png")
    return root


@pytest.fixture
def call(folder, monkeypatch):
    monkeypatch.chdir(folder)
    app = typer.Typer()
    app.command()(diff)

    def run(*words, columns="80"):
        return CliRunner().invoke(app, list(words), catch_exceptions=False, env={"COLUMNS": columns})

    return run


def test_a_terminal_shows_what_matters_in_few_lines(call) -> None:
    said = call("one/bundle", "two/bundle").stdout
    assert said.startswith("before: one/bundle\nafter:  two/bundle\n")
    assert "Prototypes: of 3 before, 1 kept, 1 moved, 1 lost; 1 new." in said
    assert "now wrong: validation/1.png, owl -> wren" in said
    assert len(said.splitlines()) <= 60


def test_many_changes_are_counted_not_listed(folder, call) -> None:
    n, c = 600, 40
    labels, classes = [number % c for number in range(n)], [f"class_{number}" for number in range(c)]
    torch.manual_seed(0)
    head = torch.eye(c)
    params = [{f"key{number}": value for number in range(30)} for value in (1, 2)]
    for name, answers, given in (("many", labels, params[0]), ("few", [0] * n, params[1])):
        codes = torch.nn.functional.normalize(torch.eye(c) + (name == "few") * torch.rand(c, c))
        write_bundle(folder / name, answering(codes, head, answers, labels=labels, classes=classes, params=given))
    said = call("many", "few").stdout
    assert len(said.splitlines()) <= 60
    assert "and 24 more" in said  # settings: 30 differ, 6 are shown
    assert "and 33 more" in said  # classes: 39 lost
    assert "and 579 more" in said  # images: 585 changed


def test_json_is_all_of_it(call) -> None:
    plain = json.loads(call("one/bundle", "two/bundle", "--json").stdout)
    assert plain["verdicts"] == {"kept": 1, "moved": 1, "new": 1, "lost": 1}
    assert plain["paired"] == {"n": 6, "gained": 1, "lost": 1, "p_value": 1.0}
    assert not plain["same"]
    assert json.loads(call("one/bundle", "one/bundle", "--json").stdout)["same"]


def test_a_page_is_written_with_the_workspace_s_images(folder, call) -> None:
    said = call("one/bundle", "two/bundle", "--out", "diff.html").stdout
    assert said.endswith("page: diff.html\n")
    page = (folder / "diff.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 1
    assert page.count("<image ") == 4
    json.loads(call("one/bundle", "two/bundle", "--json", "--out", "again.html").stdout)
    assert (folder / "again.html").read_text(encoding="utf-8") == page


def test_a_mistake_is_told_before_any_work(call) -> None:
    with pytest.raises(UsageError, match=r"--out must be a file that ends in \.html, got diff\.txt"):
        call("gone", "gone", "--out", "diff.txt")
    with pytest.raises(UsageError, match="--out: there is no folder"):
        call("gone", "gone", "--out", "none/diff.html")
    with pytest.raises(UsageError, match="--images: there is no folder none"):
        call("gone", "gone", "--images", "none")
    with pytest.raises(ArtifactError, match="gone"):
        call("one/bundle", "gone")
