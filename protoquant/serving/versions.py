"""Load the model in use from a folder or a registry, and replace it when its alias moves."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from protoquant.core.workspace import Workspace
from protoquant.model.classifier import Model
from protoquant.tracking.registry.source import is_uri, read_version

_LONGEST_PAUSE = 64  # looks at the alias
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Served:
    """A model in use.

    Attributes:
        model: The model.
        name: Name of the registered model, or of the folder.
        version: Version of the registered model, or the first digits of the bundle's digest.
        bundle: The bundle's digest.
    """

    model: Model
    name: str
    version: str
    bundle: str

    def to_dict(self) -> dict[str, str]:
        """The names that identify the model in an answer."""
        return {"name": self.name, "version": self.version, "bundle": self.bundle}


class ModelSource(Protocol):
    """A source of models."""

    @property
    def moves(self) -> bool:
        """Whether it may lead to another model later."""

    def place(self) -> str:
        """The place that it leads to now; it stays equal as long as the model is the same."""

    def load(self, place: str) -> Served:
        """Load the model of a place."""


@dataclass(frozen=True)
class FolderSource:
    """A bundle on disk."""

    folder: Path
    device: torch.device
    weights: Path | None = None

    @property
    def moves(self) -> bool:
        """A folder is read once."""
        return False

    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def load(self, place: str) -> Served:
        """Open the bundle."""
        model = Model.load(place, self.device, self.weights)
        digest = model.bundle.digest
        return Served(model, self.folder.resolve().name, digest[:12], digest)


@dataclass(frozen=True)
class RegistrySource:
    """A model of an MLflow registry; each version is fetched into a folder that is deleted along with the model."""

    uri: str
    workspace: Workspace
    device: torch.device
    weights: Path | None = None

    @property
    def moves(self) -> bool:
        """An alias may move; a version does not."""
        return "@" in self.uri

    def place(self) -> str:
        """The version that an alias points to now."""
        from protoquant.tracking.registry.fetch import resolve

        return resolve(self.uri, workspace=self.workspace)

    def load(self, place: str) -> Served:
        """Fetch and open the bundle of a version."""
        from protoquant.tracking.registry.fetch import fetch_bundle

        folder = Path(tempfile.mkdtemp(prefix="protoquant-serve-"))
        found = read_version(place)
        version = found if found and found.number is not None else None
        try:
            fetched = fetch_bundle(place if version else self.uri, workspace=self.workspace, into=folder)
            model = Model.load(fetched.bundle, self.device, self.weights or fetched.weights)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
        digest = model.bundle.digest
        if version:
            return Served(model, version.name, str(version.number), digest)
        return Served(model, self.uri, digest[:12], digest)


class Versions:
    """The model in use, and a thread that follows a moving alias.

    The next model is loaded beside the one in use and replaces it in one assignment, so a request keeps the model it
    began with. If a version cannot be loaded, the old one stays in use, and the next try comes after 1, 2, 4, ... looks
    at the alias.

    Args:
        source: The source of the models.
        every: Seconds between two looks at the alias.
    """

    def __init__(self, source: ModelSource, *, every: float):
        self._source = source
        self._every = every
        self._place = ""
        self._current: Served | None = None
        self._failed, self._skip, self._fails = "", 0, 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.on_change: Callable[[Served], None] = lambda _: None
        self.on_failure: Callable[[], None] = lambda: None

    def current(self) -> Served | None:
        """The model in use; None before the first is loaded."""
        return self._current

    def load(self) -> Served:
        """Load the first model.

        Raises:
            ProtoQuantError: The source gives no model.
        """
        place = self._source.place()
        return self._take(place)

    def start(self) -> None:
        """Follow the source, if it moves."""
        if self._source.moves and self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="alias", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop following the source."""
        self._over.set()

    def look(self) -> bool:
        """Look once at the source, and load its model if it is another one.

        Returns:
            Whether another model is in use now. Errors are logged, never raised.
        """
        place = ""
        try:
            place = self._source.place()
            if place == self._place or self._pausing(place):
                return False
            self._take(place)
        except Exception as error:  # noqa: BLE001 (whatever a registry throws, the old model stays in use)
            self._put_off(place)
            _log.warning("%s cannot be loaded, the old version stays in use: %s", place or "the alias", error)
            self.on_failure()
            return False
        return True

    def _take(self, place: str) -> Served:
        served = self._source.load(place)
        _warm_up(served.model)
        self._current, self._place = served, place
        self._failed, self._fails = "", 0
        _log.info("in use: %s version %s", served.name, served.version)
        self.on_change(served)
        return served

    def _pausing(self, place: str) -> bool:
        if place != self._failed:
            self._failed, self._fails, self._skip = "", 0, 0
            return False
        self._skip -= 1
        return self._skip >= 0

    def _put_off(self, place: str) -> None:
        if place:
            self._skip = min(2**self._fails, _LONGEST_PAUSE)
            self._failed, self._fails = place, self._fails + 1

    def _follow(self) -> None:
        while not self._over.wait(self._every):
            self.look()


def source_of(text: str, device: torch.device, weights: Path | None = None) -> ModelSource:
    """The source that a command line names.

    Args:
        text: A bundle folder, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/model``.
        device: Device to compute on.
        weights: The backbone's weight file, if the bundle was trained with one.
    """
    if is_uri(text):
        return RegistrySource(text, Workspace(Path.cwd()), device, weights)
    return FolderSource(Path(text), device, weights)


def _warm_up(model: Model) -> None:
    """Answer once, so that the first request does not pay for lazy initialization."""
    height, width = model.backbone.spec.preprocessing.crop
    model.answer_pixels(torch.zeros(1, height, width, 3, dtype=torch.uint8), [(width, height)])
