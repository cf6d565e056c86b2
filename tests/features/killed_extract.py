"""Run extract and end by kill -9 while the given number of images is done. Called by test_extract alone."""

import os
import signal
import sys
from pathlib import Path

import torch

from protoquant.core.events import ProgressEvent
from protoquant.features.config import ExtractConfig
from protoquant.features.extract import extract


def main() -> None:
    folder, config, after = Path(sys.argv[1]), ExtractConfig.model_validate_json(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)

    def listen(event):
        if isinstance(event, ProgressEvent) and event.done >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    extract(
        config,
        images=folder / "images",
        root=folder / "photos",
        out=folder / "features",
        cache=folder / "cache",
        device="cpu",
        seed=0,
        workers=2,
        on_event=listen,
    )


if __name__ == "__main__":
    main()
