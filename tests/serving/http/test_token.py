from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.serving.http.token import VARIABLE, read_token
from tests.serving.running import TOKEN


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "token"
    made.touch(mode=0o600)
    made.write_text(f"{TOKEN}\n")
    return made


def test_a_token_comes_from_a_file_or_the_environment_which_then_holds_it_no_more(file: Path) -> None:
    assert read_token(None, {}) is None
    environment = {VARIABLE: TOKEN, "PATH": "/bin"}
    for token in (read_token(file, {}), read_token(None, environment)):
        assert token is not None
        assert token.get_secret_value() == TOKEN
        assert TOKEN not in repr(token)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o666])
def test_a_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(UsageError, match=f"others may read the token in {file}; make it private: chmod 600"):
        read_token(file, {})


@pytest.mark.parametrize("text", ["", " \n", "short", "x" * 15, "two words of enough length", "ä" * 20])
def test_what_is_no_token_is_refused_and_not_shown(file: Path, text: str) -> None:
    file.write_text(text)
    for given in ((file, {}), (None, {VARIABLE: text})):
        with pytest.raises(UsageError, match="expected a token of 16 or more characters") as caught:
            read_token(*given)
        assert not text.strip() or text.strip() not in str(caught.value)


def test_a_token_of_just_the_shortest_length_is_taken(file: Path) -> None:
    file.write_text("x" * 16)
    token = read_token(file, {})
    assert token is not None
    assert token.get_secret_value() == "x" * 16


def test_two_tokens_and_a_missing_file_are_wrong_use(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice") as caught:
        read_token(file, {VARIABLE: TOKEN})
    assert TOKEN not in str(caught.value)
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"cannot be read: (No such file|Is a directory)"):
            read_token(place, {})
