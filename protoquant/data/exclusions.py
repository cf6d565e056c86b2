"""Images that a person chose to leave out, each named with the digest of its bytes."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protoquant.core.errors import DataError, one_line
from protoquant.data.checks import Checked
from protoquant.data.complete import few
from protoquant.data.quarantine import Reason, Rejected
from protoquant.data.table_file import load_columns, row_number

COLUMNS = ("path", "sha256", "reason")
_KEY = "prepare.exclude"


@dataclass(frozen=True)
class Exclusions:
    """The rows of the table, by path.

    Attributes:
        digests: SHA-256 of the file that was looked at, in small letters.
        reasons: Why it is left out.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path | None) -> "Exclusions":
        """Read ``prepare.exclude``; without a file there are none.

        Raises:
            DataError: There is no such file, it is no CSV table with these columns, a digest is none, or a path has
                two.
        """
        if file is None:
            return cls()
        if not file.is_file():
            raise DataError(f"{_KEY}: there is no file {file}; correct the path (params.yaml)")
        rows = load_columns(file, dict.fromkeys(COLUMNS), separator_key=None)
        for index, digest in enumerate(rows["sha256"]):
            if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
                where = f"{_KEY}: {file}, row {row_number(index, file)}"
                raise DataError(f"{where}: sha256 must be 64 hexadecimal digits, got {digest[:80]!r}; correct it")
        digests: dict[str, str] = {}
        reasons: dict[str, list[str]] = defaultdict(list)
        for path, digest, reason in zip(*rows.values(), strict=True):
            if digests.setdefault(path, digest.lower()) != digest.lower():
                raise DataError(f"{_KEY}: {file} names {path!r} with two digests; keep that of the file")
            reasons[path].append(one_line(reason))
        return cls(digests, {path: "; ".join(dict.fromkeys(said)) for path, said in reasons.items()})

    def part(self, images: Sequence[Checked]) -> tuple[list[Checked], list[Checked]]:
        """Part images into those that stay and those that leave: a row names their path, with the bytes they have."""
        stay: list[Checked] = []
        leave: list[Checked] = []
        for image in images:
            (leave if self.digests.get(image.entry.image_id) == image.digest else stay).append(image)
        return stay, leave

    def rejected(self, images: Sequence[Checked]) -> list[Rejected]:
        """The rows of the quarantine table for images that leave."""
        names = [image.entry.image_id for image in images]
        return [Rejected(name, Reason.EXCLUDED, f"is excluded by hand: {self.reasons[name]}") for name in names]

    def idle(self, rejected: Sequence[Rejected], listed: Collection[str]) -> str:
        """Say which rows change nothing, and why; empty if there are none.

        Args:
            rejected: All images that leave, for whatever reason.
            listed: The ids of all images that the reader found.
        """
        reasons = {one.image_id: one.reason for one in rejected}
        rows = []
        for path in self.digests:
            if path not in reasons:
                rows.append(f"{path}, {'whose bytes have changed' if path in listed else 'which is no image here'}")
            elif reasons[path] is not Reason.EXCLUDED:
                rows.append(f"{path}, which is {reasons[path]} already")
        return f"{_KEY}: {few(rows, 'row', 'rows')} not applied; look at them again" if rows else ""
