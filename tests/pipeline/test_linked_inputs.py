"""Where a run links what git does not keep: inside of its own folder, and nowhere else."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.pipeline import tree
from protoquant.pipeline.isolated_run import RunSpec, isolated
from protoquant.pipeline.linked_inputs import link_inputs
from protoquant.pipeline.retention import prune_runs
from protoquant.settings.settings import Settings

pytestmark = pytest.mark.process

Call = Callable[..., str]
ALLOWED = "name something in the clone, but not in .git, .dvc, artifacts, dvc.lock, or beside the clone"


def photos(root: str) -> dict[str, str]:
    return {"prepare.root": root, "prepare.reader": "image_folder"}


def fill(folder: Path, *names: str) -> Path:
    for name in names or ("robin/a.png",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a bird")
    return folder


def names_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


class Opened:
    """The folder of a run, with the worktree alone."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.folder = Workspace(clone).runs / "one-1"
        self.root = tree.place(self.folder, clone)
        tree.add(clone, self.root, "HEAD")
        self.of_git = set(self.links())

    def link(self, name: str) -> None:
        found = Settings.parse({"prepare": {"root": name, "reader": "image_folder"}}, source="the test")
        link_inputs(found, clone=self.clone, folder=self.folder)

    def refuses(self, name: str) -> bool:
        with pytest.raises(UsageError) as error:
            self.link(name)
        return str(error.value).startswith(f"prepare.root: a run cannot link {name!r}; {ALLOWED}")

    def links(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_symlink()]

    def linked(self) -> list[str]:
        """What was linked, from the worktree's view."""
        made = sorted(set(self.links()) - self.of_git)
        return [path.relative_to(self.root.parent).as_posix().removeprefix("clone/") for path in made]

    def up_to(self, place: Path) -> str:
        """The dots that lead from the worktree to a folder around it."""
        return "/".join([".."] * len(self.root.relative_to(place).parts))


def commit(clone: Path, call: Call, *names: str) -> None:
    call(clone, "git", "add", "-f", *names)
    call(clone, "git", "commit", "-qm", "more")


def test_a_folder_of_the_disk_is_not_linked_beside_the_clone(clone: Path, tmp_path: Path) -> None:
    canary = fill(tmp_path / "canary")
    before = names_below(canary), sorted(clone.parent.iterdir())
    worktree = tree.place(Workspace(clone).runs / "one-1", clone)
    root = "../" * len(worktree.relative_to(clone.parent).parts) + str(canary)[1:]
    plan = RunSpec("one-1", photos(root))
    sentence = re.escape(f"prepare.root: a run cannot link {root!r}; {ALLOWED}, such as ../my-photos, or give the ")
    with pytest.raises(UsageError, match=f"^{sentence}absolute path$"), isolated(clone, plan):
        pass
    assert (names_below(canary), sorted(clone.parent.iterdir())) == before


def test_a_link_has_no_place_over_what_the_run_needs(clone: Path, call: Call) -> None:
    call(clone, "dvc", "repro", "-q")
    opened = Opened(clone)
    before = names_below(opened.folder)
    around = [".", "./", "..", "../", "../..", "../../..", "../clone", "data/..", "data/../..//.", "../../home/clone"]
    within = [".git", ".git/hooks", "data/..//.git/hooks", "../clone/.git/hooks", ".dvc", ".dvc/tmp", "dvc.lock"]
    within += ["artifacts", "artifacts/first", "../clone/artifacts/new"]
    beside = [f"{opened.up_to(opened.folder)}/{name}" for name in ("lease", "run.json", "new", "", "../two-2")]
    for name in around + within + beside:
        assert opened.refuses(name), name
        assert names_below(opened.folder) == before


def test_a_place_in_the_clone_or_beside_it_is_linked(clone: Path) -> None:
    opened = Opened(clone)
    names = ["../my-photos", "..//../far", "../../home/near", "new/photos", "~/photos", "-x", "a\nb", ".github"]
    for name in names:
        fill(clone / name)
        opened.link(name)
        assert (opened.root / name).is_symlink()
        assert (opened.root / name / "robin" / "a.png").read_text() == "a bird"
    assert len(opened.links()) == len(names)


def test_what_needs_no_link_has_none(clone: Path, tmp_path: Path) -> None:
    opened = Opened(clone)
    for name in (str(fill(tmp_path / "elsewhere")), "s3://bucket/birds", "nowhere", "step.py/photos", "data"):
        opened.link(name)
    assert opened.links() == []


def test_a_folder_that_git_has_in_part_is_completed_below_its_name_alone(clone: Path, call: Call) -> None:
    fill(clone / "data" / "photos", "robin/a.png")
    commit(clone, call, "data/photos")
    fill(clone / "data", "beside.txt", "photos/robin/b.png", "photos/wren/a.png")
    opened = Opened(clone)
    opened.link("data/photos")
    assert opened.linked() == ["data/photos/robin/b.png", "data/photos/wren"]


def test_a_file_of_git_where_the_clone_has_a_folder_is_one_sentence(clone: Path) -> None:
    opened = Opened(clone)
    (clone / "step.py").unlink()
    fill(clone / "step.py")
    opened.link("step.py")
    assert opened.links() == []
    with pytest.raises(
        UsageError, match=r"^prepare.root: 'step.py/robin' cannot be linked into the run \(.*\); correct"
    ):
        opened.link("step.py/robin")


@pytest.mark.parametrize(("name", "reason"), [("a\0b", "embedded null byte"), ("x" * 5000, "File name too long")])
def test_a_name_that_no_file_has_is_one_sentence(clone: Path, name: str, reason: str) -> None:
    sentence = re.escape(f"prepare.root: {name[:80]!r} cannot be linked into the run ({reason}); correct it")
    with pytest.raises(UsageError, match=f"^{sentence}$"), isolated(clone, RunSpec("one-1", photos(name))):
        pass


def test_the_file_of_weights_has_the_same_rule(clone: Path) -> None:
    plan = RunSpec("one-1", {"extract.weights": "file", "extract.weights_file": ".git/config"})
    sentence = r"^extract\.weights_file: a run cannot link '\.git/config'; name something"
    with pytest.raises(UsageError, match=sentence), isolated(clone, plan):
        pass


def test_a_link_of_git_leads_no_link_out_or_over_what_the_run_needs(clone: Path, call: Call, tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", "wren/a.png")
    for name, target in {"away": elsewhere, "here": ".", "above": "..", "git": ".git"}.items():
        (clone / name).symlink_to(target)
        commit(clone, call, name)
        (clone / name).unlink()
        fill(clone / name, "robin/a.png", "wren/b.png", ".git/new", "artifacts/new", "clone/.git/new", "clone/b.png")
    before = names_below(elsewhere)
    opened = Opened(clone)
    for name in ("away/robin", "here/artifacts", "above/clone/artifacts"):
        assert opened.refuses(name), name
    for name in ("away", "away/wren", "here", "here/.git", "above", "above/clone", "above/clone/.git", "git"):
        opened.link(name)  # is there by git's link, so nothing is missing
    with pytest.raises(UsageError):
        opened.link("git/new")  # there is no folder .git in a worktree
    assert opened.linked() == []
    assert names_below(elsewhere) == before
    opened.link("above/robin")
    assert opened.linked() == ["robin"]


def test_a_link_of_git_to_what_lies_beside_the_clone_works(clone: Path, call: Call) -> None:
    fill(clone.parent / "my-photos")
    (clone / "birds").symlink_to("../my-photos")
    commit(clone, call, "birds")
    opened = Opened(clone)
    opened.link("birds")
    assert opened.linked() == ["my-photos"]
    assert (opened.root / "birds" / "robin" / "a.png").read_text() == "a bird"


@pytest.mark.parametrize("name", ["../my-photos", "data/photos"])
def test_the_images_outlive_the_run(clone: Path, call: Call, name: str) -> None:
    fill(clone / "data" / "photos", "robin/a.png")
    commit(clone, call, "data/photos")
    kept = fill(clone / name, "wren/a.png", "wren/b.png")
    before = names_below(kept)
    plan = RunSpec("one-1", photos(name))
    with isolated(clone, plan) as run:
        assert (run.root / name / "wren" / "b.png").read_text() == "a bird"
    (run.folder / "run.json").unlink()
    with isolated(clone, plan) as run:  # made anew
        assert not run.continued
    assert [gone.name for gone in prune_runs(clone, max_age=0, keep=0)] == ["one-1"]
    with isolated(clone, plan) as run:
        run.discard()
    assert not run.folder.exists()
    assert names_below(kept) == before
    assert (kept / "wren" / "b.png").read_text() == "a bird"
