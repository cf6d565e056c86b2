"""Parse MLflow URIs, and check the digest of a registered bundle; this module does not import MLflow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, UsageError

MODEL = "model"
"""Name of the logged model of a run."""
ARTIFACTS = "artifacts"
BUNDLE = f"{ARTIFACTS}/bundle"
"""Folders of a model's files and of the bundle, below the root of a logged model."""
DIGEST_TAG = "bundle_digest"
"""Tag of versions and logged models: the digest of the bundle that was registered."""
MODELS = "models:/"
"""Prefix of the URI of a registered model."""
URI_FORM = r"^(models|runs):/.+"
VERSION_FORM = r"^models:/[^/@]+(@[^/@]+|/\d+)$"
"""Patterns for form fields, without Python's named groups: the beginning of any URI, and a whole version URI."""
_SCHEMES = (MODELS, "runs:/")
_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model"
_WHICH = r"(@(?P<alias>[^/@]+)|/(?P<number>\d+))"
_VERSION = re.compile(rf"models:/(?P<name>[^/@]+){_WHICH}")
_SHORT = re.compile(rf"(models:/)?(?P<name>[^/@:]+){_WHICH}?")
_OF_RUN = re.compile(r"runs:/(?P<run>[^/]+)(/(?P<model>[^/]+))?/?")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Version:
    """A version that a ``models:/`` URI names.

    Attributes:
        name: The registered model.
        alias: An alias; None where there is none.
        number: The number; None where there is none.
    """

    name: str
    alias: str | None
    number: int | None


@dataclass(frozen=True)
class OfRun:
    """A run's model that a ``runs:/`` URI names.

    Attributes:
        run: Id of the run.
        model: Name of the model in it.
    """

    run: str
    model: str


@dataclass(frozen=True)
class RegistryModel:
    """A model in the registry.

    Attributes:
        name: Its name in messages.
        root: Root of its files: ``models:/NAME/VERSION``, or a location.
        tag: The digest under which its bundle was registered; None where the registry does not say.
    """

    name: str
    root: str
    tag: str | None


def is_uri(source: str | Path) -> bool:
    """Whether the source of a model begins like an MLflow URI, and so is not a folder."""
    return str(source).startswith(_SCHEMES)


def is_tracked(name: str) -> bool:
    """Whether a name has the shape of a run id or of the URI of a registered model."""
    return name.startswith(MODELS) or _RUN_ID.fullmatch(name) is not None


def read_version(uri: str) -> Version | None:
    """Read ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; None for all else."""
    match = _VERSION.fullmatch(uri)
    return _version(match) if match else None


def read_short(text: str) -> Version | None:
    """Read the same, or ``NAME`` alone, with or without ``models:/``; None for all else."""
    match = _SHORT.fullmatch(text)
    return _version(match) if match else None


def read_uri(uri: str) -> Version | OfRun:
    """Parse an MLflow URI.

    Raises:
        UsageError: The URI is malformed.
    """
    if version := read_version(uri):
        return version
    if match := _OF_RUN.fullmatch(uri):
        return OfRun(match["run"], match["model"] or MODEL)
    message = f"expected {_FORMS}, got {uri!r}"
    raise UsageError(message)


@dataclass(frozen=True)
class Fetched:
    """The files that were fetched for an MLflow URI.

    Attributes:
        bundle: Folder of the bundle.
        weights: File of backbone weights where the model carries its own, else None; the bundle names their digest.
        tag: The digest under which the bundle was registered, already checked; None where the registry does not say.
    """

    bundle: Path
    weights: Path | None
    tag: str | None


def check_digest(found: RegistryModel, bundle: Path) -> None:
    """Check the digest of a bundle against its tag; opening the bundle checks every file against the manifest.

    Raises:
        ArtifactError: The bundle is not the one that was registered.
    """
    digest = artifact_digest(bundle)
    if found.tag not in (None, digest):
        raise ArtifactError(
            f"{found.name}: its bundle is not the one that was registered: digest {digest[:12]}, its tag {DIGEST_TAG} "
            f"says {str(found.tag)[:12]}; files or tag were changed since, perhaps by somebody who must not: "
            "restore them, or register the model again"
        )


def _version(match: re.Match[str]) -> Version:
    return Version(match["name"], match["alias"], int(match["number"]) if match["number"] else None)
