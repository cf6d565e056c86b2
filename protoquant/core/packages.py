"""Versions of installed packages."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version(name: str) -> str:
    """Read the version of an installed package once; each reading parses all that the package says of itself.

    Args:
        name: Name of the distribution.

    Raises:
        PackageNotFoundError: It is not installed.
    """
    return version(name)


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Read the versions of installed packages, without local parts such as ``+cpu``.

    Args:
        names: Names of distributions; one that is not installed is left out.
    """
    found = {}
    for name in names:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found
