"""Makes passwords and keys once and keeps them in a file that only its owner can read."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.stack.errors import StackError

SECRETS = (
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "S3_JWT_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "PREFECT_API_AUTH_STRING",
    "RAY_AUTH_TOKEN",
)


def keep(path: Path) -> dict[str, str]:
    """Read the passwords, after making those that are missing.

    Args:
        path: A file of ``NAME=value`` lines, as Compose reads ``.env``.

    Returns:
        Every password by name; they have only letters and digits, so none needs quoting anywhere.

    Raises:
        StackError: If others may read the file.
    """
    known = read(path)
    if missing := set(SECRETS) - known.keys():
        known |= {name: value for name, value in new().items() if name in missing}
        write(path, known)
    return known


def new() -> dict[str, str]:
    """Return a value for every name, each drawn anew."""
    return {name: secrets.token_hex(10 if name.endswith("_ID") else 32) for name in SECRETS}


def read(path: Path) -> dict[str, str]:
    """Return the passwords in the file; empty if there is no file.

    Raises:
        StackError: If others may read the file.
    """
    if not path.exists():
        return {}
    if mode := path.stat().st_mode & 0o077:
        raise StackError(
            f"{path} must be readable by its owner alone, others have access (mode bits {mode:03o}); chmod 600 it, "
            "and replace what they may have read: python -m infra.stack secrets --rotate"
        )
    return dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)


def write(path: Path, known: Mapping[str, str]) -> None:
    """Write the passwords so that only their owner can read them."""
    write_private(path, "".join(f"{name}={value}\n" for name, value in known.items()))


def shell(variables: Mapping[str, str]) -> str:
    """Return lines for a shell to source."""
    return "".join(f"export {name}={value}\n" for name, value in sorted(variables.items()))


def write_private(path: Path, text: str) -> None:
    """Write a file that only the owner can read, first under another name, then rename it."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    aside.replace(path)
