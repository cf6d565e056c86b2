"""Whose parts are continued."""

import os
from pathlib import Path

import pytest

from protoquant.core.artifacts import read_json
from protoquant.core.events import ignore
from protoquant.serving.bulk.parts import digest_images, open_plan

PLAN = {"images": "a", "bundle": "b", "top": 3, "part": 8}


def test_an_image_counts_as_another_when_it_was_written_since_if_only_at_the_same_size(tmp_path: Path) -> None:
    file, names = tmp_path / "a.png", ["a.png", "gone.png"]
    file.write_bytes(b"one")
    before = digest_images(tmp_path, names)
    assert digest_images(tmp_path, names) == before
    seen = [before]
    file.write_bytes(b"two")
    os.utime(file, (1000, 1000))
    seen.append(digest_images(tmp_path, names))
    (tmp_path / "gone.png").touch()
    seen.append(digest_images(tmp_path, names))
    seen.append(digest_images(tmp_path, names[::-1]))
    assert len(set(seen)) == 4


def test_parts_of_the_same_plan_stay_and_those_of_another_go(tmp_path: Path) -> None:
    open_plan(tmp_path, PLAN, ignore)
    part = tmp_path / "000000.parquet"
    part.touch()
    open_plan(tmp_path, PLAN, ignore)
    assert part.exists()
    open_plan(tmp_path, PLAN | {"top": 4}, ignore)
    assert not part.exists()
    assert read_json(tmp_path / "plan.json") == PLAN | {"top": 4}


def test_a_kill_between_two_plans_never_leaves_old_parts_under_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_plan(tmp_path, PLAN, ignore)
    part = tmp_path / "000000.parquet"
    part.touch()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            open_plan(tmp_path, PLAN | {"bundle": "c"}, ignore)
    assert part.exists()
    assert read_json(tmp_path / "plan.json") == PLAN
