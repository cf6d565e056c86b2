"""The device, workers, processes and shared cache, which must not change a result; only this module reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from protoquant.core.errors import UsageError
from protoquant.core.machine.cores import cores
from protoquant.core.machine.memory import keep_freed_memory

if TYPE_CHECKING:
    import torch


def _location(uri: str | None) -> str | None:
    """Refuse a text that is not an S3 location; ``storage.location`` reads its bucket and prefix."""
    if uri and not re.match("s3://[^/]", uri):
        raise PydanticCustomError("location", "must be s3://bucket/prefix; correct or unset it")
    return uri or None


class Runtime(BaseSettings):
    """The machine's side of a run: ``PROTOQUANT_DEVICE``, ``_WORKERS``, ``_PROCESSES`` and ``_FEATURE_CACHE``."""

    model_config = SettingsConfigDict(env_prefix="PROTOQUANT_", frozen=True)

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$", description="auto, cpu, cuda, cuda:N or mps"
    )
    workers: int = Field(default_factory=cores, ge=1, description="threads that decode images")
    processes: int = Field(
        1, ge=1, le=10_000, description="processes that share extract, quantize or train; more than 1 run on Ray"
    )
    feature_cache: Annotated[str | None, AfterValidator(_location)] = Field(
        None, description="s3://bucket/prefix where machines share finished shards of extract; empty for nowhere"
    )

    @classmethod
    def from_environment(cls, device: str | None = None) -> Runtime:
        """Read the environment.

        Args:
            device: Overrides ``PROTOQUANT_DEVICE``; None keeps the environment's value.

        Raises:
            UsageError: A variable or the argument holds an impossible value.
        """
        try:
            return cls() if device is None else cls(device=device)
        except ValidationError as error:
            detail = error.errors()[0]
            key = str(detail["loc"][0])
            name = "device" if key == "device" and device is not None else f"PROTOQUANT_{key.upper()}"
            raise UsageError(f"{name}: {detail['msg']}, got {detail['input']!r}") from error

    def torch_device(self, threads: int | None = None) -> torch.device:
        """Choose the device, turn off settings that make its results vary, and keep freed memory for the next batch.

        Args:
            threads: CPU threads of one operation; another count rounds differently, so stages take it
                from params.yaml. None leaves torch's own choice.

        Raises:
            UsageError: The named device is not available.
        """
        import torch

        keep_freed_memory()
        if threads is not None:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        device = torch.device(self.device)
        there = {
            "cpu": True,
            "cuda": (device.index or 0) < torch.cuda.device_count(),
            "mps": torch.backends.mps.is_available(),
        }
        if not there[device.type]:
            raise UsageError(f"PROTOQUANT_DEVICE: {self.device} is not there; unset it or set it to cpu")
        return device
