"""Versions as they go into tags and files."""

import pytest

from protoquant.core import packages
from protoquant.core.packages import package_versions


def test_versions_carry_no_local_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version", lambda name: f"{len(name)}.0+cpu")
    assert package_versions(("torch", "timm")) == {"torch": "5.0", "timm": "4.0"}


def test_a_package_that_is_not_installed_is_left_out() -> None:
    assert package_versions(("no-such-package",)) == {}
