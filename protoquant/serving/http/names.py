"""Parse the name of a service, as a Host header or an option gives it."""

from __future__ import annotations

import re
from ipaddress import ip_address

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d*)?", re.IGNORECASE | re.ASCII)


def plain_name(text: str) -> str:
    """One spelling for a name or address: lower case, without brackets and trailing dot, IPv6 at its shortest."""
    name = text.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    try:
        address = ip_address(name)
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


def name_of(authority: str) -> str | None:
    """The plain name in ``name`` or ``name:port``; None for all else."""
    match = _AUTHORITY.fullmatch(authority)
    return plain_name(match["name"]) if match else None


def is_loopback(host: str) -> bool:
    """Whether a service that listens on a host can be reached only from this machine; names are not looked up."""
    name = plain_name(host)
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def allowed_name(text: str) -> str:
    """Check a host name that the user allows.

    Raises:
        ValueError: The text is not just a name; it has a scheme or a port, for example.
    """
    if (match := _AUTHORITY.fullmatch(text)) is None or match["name"] != text:
        raise ValueError(f"expected a name alone, such as birds.example.org or [fd00::1], got {text!r}")
    return plain_name(text)
