"""Versions as they go into tags and files."""

from importlib.metadata import PackageNotFoundError

import pytest

from protoquant.core import packages
from protoquant.core.packages import package_versions


def test_versions_carry_no_local_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version", lambda name: f"{len(name)}.0+cpu")
    assert package_versions(("torch", "timm")) == {"torch": "5.0", "timm": "4.0"}


def test_a_package_that_is_not_installed_is_left_out() -> None:
    assert package_versions(("no-such-package",)) == {}


def test_the_version_of_a_package_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def version(name: str) -> str:
        asked.append(name)
        return "1.0+cpu"

    monkeypatch.setattr(packages, "version", version)
    packages.installed_version.cache_clear()
    assert [packages.installed_version("net") for _ in range(3)] == ["1.0+cpu"] * 3
    assert asked == ["net"]
    packages.installed_version.cache_clear()


def test_a_package_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PackageNotFoundError):
        packages.installed_version("no-such-package-of-anyone")
