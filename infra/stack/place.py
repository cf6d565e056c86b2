"""Fills the braces of the service table with the place where the services run."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.stack import certificates
from infra.stack.passwords import SECRETS
from infra.stack.services import PORTS, SERVICES

# Ray replaces 127.0.0.1 by the machine's own address, which changes and is not a loopback address. macOS has no other
# loopback address, but there Ray keeps 127.0.0.1.
RAY_HOST = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
_SESSION_BYTES = 40  # a socket's path may have 104 or 108 bytes, and Ray appends 65


@dataclass(frozen=True)
class Place:
    """The values for the braces of the service table.

    Attributes:
        listen: Address on which services listen.
        host: Name or address under which services reach each other.
        port: Every port by name.
        data: Folder of each service.
        secret: Every password by name.
        certificate: Files of the stack's certificate.
        session: Folder where Ray keeps code, sockets and logs, open to all; so it lies in a private folder.
    """

    listen: str
    host: Mapping[str, str]
    port: Mapping[str, int]
    data: Mapping[str, str]
    secret: Mapping[str, str]
    certificate: Mapping[str, str]
    session: str

    def fill(self, text: str) -> str:
        """Replace the braces in one text."""
        return text.format_map(vars(self))

    def page(self, service: str, path: str) -> str:
        """Return the address of a page, as seen from the service's own machine."""
        return f"http://127.0.0.1:{self.port[service]}{path}"

    def words(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Replace the braces in each word of a command."""
        return tuple(map(self.fill, texts))

    def variables(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Replace the braces in each value of an environment."""
        return {name: self.fill(text) for name, text in texts.items()}


def loopback(folder: Path, *, offset: int, secret: Mapping[str, str]) -> Place:
    """Return the place of processes on this machine.

    Args:
        folder: The stack's folder.
        offset: Number added to every port of the table.
        secret: Every password by name.
    """
    return Place(
        listen="127.0.0.1",
        host=dict.fromkeys(SERVICES, "127.0.0.1") | {"ray": RAY_HOST},
        port={name: port + offset for name, port in PORTS.items()},
        data={name: str((folder / name).resolve()) for name in SERVICES},
        secret=secret,
        certificate=certificates.paths(folder.resolve() / "certificates"),
        session=str(_short(folder.resolve() / "ray") / "t"),
    )


def _short(folder: Path) -> Path:
    """Return a folder, or one with a short name instead if its path is too long for a socket."""
    if len(os.fsencode(folder / "t")) <= _SESSION_BYTES:
        return folder
    return Path(tempfile.gettempdir()) / f"ray-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def containers() -> Place:
    """Return the place that compose.yaml describes.

    A Ray driver must share the head's address and session folder, so the runner lives in its network.
    """
    return Place(
        listen="0.0.0.0",  # noqa: S104  inside a container; published on loopback alone
        host={name: name for name in SERVICES} | {"ray": "127.0.0.2"},
        port=PORTS,
        data=dict.fromkeys(SERVICES, "/data"),
        secret={name: f"${{{name}:?run python -m infra.stack secrets}}" for name in SECRETS},
        certificate=certificates.paths("/certificates"),
        session="/tmp/ray",  # noqa: S108  a volume of Ray and the runner alone
    )
