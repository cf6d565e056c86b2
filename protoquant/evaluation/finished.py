"""Images that a slow measurement has finished, so that it goes on where it was interrupted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protoquant.core.artifacts import digest_bytes, digest_file, digest_json, read_json, write_json
from protoquant.core.files import written_aside

Rows = list[dict[str, Any]]
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class FinishedImages:
    """A folder with a file for each finished image; it holds the results of one key.

    Attributes:
        folder: The folder, which is made with the first image.
    """

    folder: Path

    @classmethod
    def beside(cls, artifact: Path, name: str, key: dict[str, Any]) -> FinishedImages:
        """Open the results of a key, and remove those of any other key: its model, values or code are gone.

        Args:
            artifact: An artifact; the folder lies beside it.
            name: Name of the measurement.
            key: Everything that decides a result but the image and our own code, which is part of it anyway.
        """
        code = {str(path.relative_to(_PACKAGE)): digest_file(path) for path in sorted(_PACKAGE.rglob("*.py"))}
        folder = artifact.parent / f".{artifact.name}-{name}" / digest_json({**key, "code": code})
        for other in folder.parent.glob("*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return cls(folder)

    def rows(self, image_id: str, compute: Callable[[], Rows]) -> Rows:
        """The rows of an image, computed only where they are not there yet.

        Args:
            image_id: The image.
            compute: Gives plain values: JSON keeps every float as it is, so a resumed result has the same bytes.
        """
        file = self.folder / f"{digest_bytes(image_id.encode())}.json"
        if file.is_file():
            known: Rows = read_json(file)
            return known
        found = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_aside(file, file.with_suffix(f".{os.getpid()}")) as aside:
            write_json(aside, found)
        return found
