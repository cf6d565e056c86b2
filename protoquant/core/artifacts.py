"""Artifacts, the folders that stages write: replaced as a whole, described by a manifest, checked by digest.

The same inputs give the same bytes, so nothing here writes a time, a host name or an absolute path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from protoquant.core.errors import ArtifactError
from protoquant.core.files import sync
from protoquant.core.packages import installed_version

if TYPE_CHECKING:
    import pandas as pd
    import torch

MANIFEST = "manifest.json"
SCHEMA = 1
_PACKAGES = ("numpy", "pandas", "pillow", "pyarrow", "safetensors", "scipy", "timm", "torch")


@dataclass(frozen=True)
class Manifest:
    """The contents of a folder's ``manifest.json``.

    Attributes:
        kind: What the folder holds, such as ``codebook``.
        inputs: Digest of each input artifact by name.
        files: Maps the relative POSIX path of each file to its ``sha256`` and ``bytes``.
        packages: Version of each package that can change the bytes.
        extra: Values that the stage adds.
    """

    kind: str
    inputs: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    packages: Mapping[str, str]
    extra: Mapping[str, Any]


@contextmanager
def writing(
    out: Path,
    kind: str,
    inputs: Mapping[str, str] | None = None,
    *,
    known_digests: Mapping[str, str] | None = None,
    **extra: Any,
) -> Iterator[Path]:
    """Write an artifact to a temporary folder and move it into place when it is complete.

    Args:
        out: The folder; an older one is replaced.
        kind: What the folder holds.
        inputs: Digest of each input artifact by name.
        known_digests: SHA-256 of files by their relative POSIX path, read when the block ends; those files are not read
            again.
        extra: Plain values for the manifest.

    Yields:
        A temporary folder beside ``out``; it disappears if the block raises.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-{os.getpid()}-", dir=out.parent))
    try:
        aside.chmod(0o755)
        yield aside
        known = known_digests or {}
        manifest = {
            "schema": SCHEMA,
            "kind": kind,
            "inputs": dict(inputs or {}),
            "files": {name: _entry(aside / name, known.get(name)) for name in _files(aside)},
            "packages": _versions(),
            "extra": extra,
        }
        write_json(aside / MANIFEST, {**manifest, "sha256": digest_json(manifest)})
        for path in [*aside.rglob("*"), aside]:
            sync(path)
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def open_artifact(path: Path, kind: str, *, verify: bool = True) -> Manifest:
    """Read a folder's manifest and check the folder against it.

    Args:
        path: The folder.
        kind: What the folder must hold.
        verify: Also compare the digest of every file; sizes are always compared.

    Raises:
        ArtifactError: The folder is missing, of another kind or schema, incomplete or damaged.
    """
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"no {kind} at {path}: {MANIFEST} is missing; run the stage that writes it (dvc repro)")
    raw = read_json(path / MANIFEST)
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or raw.get("kind") != kind:
        found = f"{raw.get('kind')!r}, schema {raw.get('schema')}" if isinstance(raw, dict) else "no manifest"
        raise ArtifactError(f"{path} must hold {kind!r}, schema {SCHEMA}; it holds {found}")
    if raw.pop("sha256", None) != digest_json(raw):
        raise ArtifactError(
            f"{path / MANIFEST} is damaged: it is not what was written; restore it or run the stage again"
        )
    try:
        manifest = Manifest(raw["kind"], raw["inputs"], raw["files"], raw["packages"], raw["extra"])
    except KeyError as error:
        raise ArtifactError(f"{path / MANIFEST} is no manifest: {error} is missing; run the stage again") from error
    if strangers := set(_files(path)) - {MANIFEST, *manifest.files}:
        raise ArtifactError(f"{path} holds a file that its stage did not write: {min(strangers)}; remove it")
    whole = path.resolve()
    for name, entry in manifest.files.items():
        if not (path / name).resolve().is_relative_to(whole):
            raise ArtifactError(f"{path / MANIFEST} names a file outside its folder: {name}")
        _check(path / name, entry, verify=verify)
    return manifest


def artifact_digest(path: Path) -> str:
    """The digest of an artifact's content: that of its manifest, which lists the digest of every file.

    Raises:
        ArtifactError: There is no manifest.
    """
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"no artifact at {path}: {MANIFEST} is missing; run the stage that writes it (dvc repro)")
    return digest_file(path / MANIFEST)


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes, as hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a plain value, independent of the order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, allow_nan=False).encode())


def write_json(path: Path, value: Any) -> None:
    """Write a plain value with sorted keys.

    Raises:
        ArtifactError: A number is NaN or infinite.
    """
    try:
        text = json_text(value)
    except ValueError as error:
        raise ArtifactError(
            f"{path.name} would hold a number that is not finite; this is a defect, report it"
        ) from error
    path.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """A plain value as :func:`write_json` writes it; a number that is not finite is a ValueError."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a plain value.

    Raises:
        ArtifactError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; run the stage that writes it (dvc repro)") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: not JSON; run the stage again") from error


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet without an index."""
    frame.reset_index(drop=True).to_parquet(path, index=False, compression="zstd")


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet table.

    Raises:
        ArtifactError: The file is missing or not parquet.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; run the stage that writes it (dvc repro)") from error
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path} is damaged: not parquet; run the stage again") from error


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors; metadata belongs in JSON, since safetensors does not order it."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a safetensors file by memory map.

    Raises:
        ArtifactError: The file is missing or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; run the stage that writes it (dvc repro)") from error
    except SafetensorError as error:
        raise ArtifactError(f"{path} is damaged: not safetensors; run the stage again") from error
    return tensors


def rounded(value: Any, digits: int = 6) -> Any:
    """Round every float inside a plain value; NaN and infinity become None.

    Args:
        value: Numbers, text, lists and mappings, nested.
        digits: Decimal places kept.
    """
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner, digits) for inner in value]
    return value


def _sweep(out: Path) -> None:
    """Remove the temporary folders that killed processes left beside ``out``."""
    for left in out.parent.glob(f".{out.name}-*-*"):
        owner = left.name.removeprefix(f".{out.name}-").split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _entry(path: Path, known: str | None) -> dict[str, Any]:
    return {"sha256": known or digest_file(path), "bytes": path.stat().st_size}


def _check(path: Path, entry: Mapping[str, Any], *, verify: bool) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; run the stage that writes it again")
    if path.stat().st_size != entry["bytes"] or (verify and digest_file(path) != entry["sha256"]):
        raise ArtifactError(f"{path} is damaged: its bytes are not the ones that were written; restore or rewrite it")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = installed_version(name)
        except PackageNotFoundError:
            continue
    return found
