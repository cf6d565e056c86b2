"""Passwords: made once, kept in a file that only its owner reads."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

SECRETS = ("POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN")


def keep(path: Path) -> dict[str, str]:
    """Read the passwords, after making those that are missing.

    Args:
        path: A file of ``NAME=value`` lines, as Compose reads ``.env``.

    Returns:
        Every password by name; letters and digits alone, so none needs quoting anywhere.
    """
    known = read(path)
    missing = [name for name in SECRETS if name not in known]
    if missing:
        known |= {name: secrets.token_hex(10 if name.endswith("_ID") else 32) for name in missing}
        write_private(path, "".join(f"{name}={value}\n" for name, value in known.items()))
    return known


def read(path: Path) -> dict[str, str]:
    """Return what the file holds, nothing if there is none."""
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)


def shell(variables: Mapping[str, str]) -> str:
    """Return lines for a shell to source."""
    return "".join(f"export {name}={value}\n" for name, value in sorted(variables.items()))


def write_private(path: Path, text: str) -> None:
    """Write aside, readable by the owner alone, then rename."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    aside.replace(path)
