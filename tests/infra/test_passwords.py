"""The stack's secrets in their file."""

from pathlib import Path

import pytest

from infra.stack import passwords
from infra.stack.errors import StackError


def test_each_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    assert passwords.read(file) == {}
    made = passwords.keep(file)
    assert made.keys() == set(passwords.SECRETS)
    assert len(set(made.values())) == len(made)
    assert all(value.isalnum() and len(value) >= 20 for value in made.values())
    assert file.stat().st_mode & 0o777 == 0o600
    assert passwords.keep(file) == passwords.read(file) == made
    assert [path.name for path in tmp_path.iterdir()] == ["passwords"]


def test_missing_ones_are_added_and_the_others_kept(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    passwords.write(file, {"POSTGRES_PASSWORD": "old", "OF_ANOTHER_VERSION": "kept"})
    known = passwords.keep(file)
    assert known == passwords.read(file)
    assert (known["POSTGRES_PASSWORD"], known["OF_ANOTHER_VERSION"]) == ("old", "kept")
    assert known.keys() == {*passwords.SECRETS, "OF_ANOTHER_VERSION"}


def test_new_ones_are_drawn_anew() -> None:
    first, second = passwords.new(), passwords.new()
    assert first.keys() == second.keys() == set(passwords.SECRETS)
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize(("mode", "bits"), [(0o644, "044"), (0o640, "040"), (0o602, "002")])
def test_a_file_that_others_reach_is_refused_in_a_line(tmp_path: Path, mode: int, bits: str) -> None:
    file = tmp_path / "passwords"
    made = passwords.keep(file)
    file.chmod(mode)
    for use in (passwords.read, passwords.keep):
        with pytest.raises(StackError) as refused:
            use(file)
        (line,) = str(refused.value).splitlines()
        assert f"{file} must be readable by its owner alone, others have access (mode bits {bits})" in line
        assert "chmod 600 it" in line
        assert "secrets --rotate" in line
        assert not [value for value in made.values() if value in line]
    assert dict(line.split("=") for line in file.read_text().splitlines()) == made


def test_a_private_file_is_never_open_to_others(tmp_path: Path) -> None:
    file = tmp_path / "auth.ini"
    file.write_text("old")
    file.chmod(0o644)
    (tmp_path / "auth.ini.new").write_text("of an interrupted write")
    passwords.write_private(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_shell_can_source_them() -> None:
    assert passwords.shell({"B": "2", "A": "1"}) == "export A=1\nexport B=2\n"
