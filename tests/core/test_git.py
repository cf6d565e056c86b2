"""Real git in a temporary folder: what it answers, refuses, and leaves alone."""

import os
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.core.git import GitError, git, git_answer
from protoquant.core.workspace import Workspace

pytestmark = pytest.mark.process

IDENTITY = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_bytes(b"one \xff\n")
    git(tmp_path, "add", ".")
    git(tmp_path, *IDENTITY, "commit", "--quiet", "--message", "one")
    return tmp_path


def test_what_git_writes_comes_back_as_it_is(clone: Path) -> None:
    assert git(clone, "show", "HEAD:code.py") == b"one \xff\n"
    assert git_answer(clone, "show", "HEAD:code.py") == b"one \xff\n"


def test_an_answer_without_text_is_one(clone: Path) -> None:
    assert git_answer(clone, "status", "--porcelain") == b""


def test_git_reads_what_it_is_given(clone: Path) -> None:
    assert git(clone, "hash-object", "--stdin", given=b"one \xff\n") == git(clone, "rev-parse", "HEAD:code.py")


def test_a_refusal_says_what_git_said(clone: Path) -> None:
    with pytest.raises(GitError, match=r"path .none. does not exist in .HEAD."):
        git(clone, "show", "HEAD:none")
    assert git_answer(clone, "show", "HEAD:none") is None


def test_a_folder_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"cannot change to .*none"):
        git(tmp_path / "none", "status")
    assert git_answer(tmp_path / "none", "status") is None


def test_a_word_with_a_nul_is_no_refusal_but_no_answer_either(clone: Path) -> None:
    with pytest.raises(ValueError, match="null byte"):
        git(clone, "show", "HEAD\0")
    assert git_answer(clone, "show", "HEAD\0") is None


def test_without_git_there_is_no_answer(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone))
    with pytest.raises(FileNotFoundError):
        git(clone, "status")
    assert git_answer(clone, "status") is None


def test_a_question_takes_no_optional_lock(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_OPTIONAL_LOCKS", "1")
    git(clone, "config", "alias.locks", "!echo $GIT_OPTIONAL_LOCKS")
    assert git(clone, "locks") == b"0\n"
    assert os.environ["GIT_OPTIONAL_LOCKS"] == "1", "only for git"


def test_a_clone_of_another_owner_is_refused_with_the_command_that_mends_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    for ask in (git, git_answer):
        with pytest.raises(UsageError, match=r"git refuses the clone: .* --global --add safe\.directory \S+$"):
            ask(clone, "rev-parse", "HEAD")
    with pytest.raises(UsageError, match="git refuses the clone"):
        _ = Workspace(clone).shared
