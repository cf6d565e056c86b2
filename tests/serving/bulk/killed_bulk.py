"""Predict a folder and end by kill -9 while the given number of images is done. Called by test_bulk alone."""

import os
import signal
import sys
from pathlib import Path

import torch

from protoquant.core.events import ProgressEvent
from protoquant.model.classifier import Model
from protoquant.model.folder import find_images
from protoquant.serving.bulk import bulk


def main() -> None:
    bundle, root, out, after = *map(Path, sys.argv[1:4]), int(sys.argv[4])
    torch.set_num_threads(1)
    bulk.PART, bulk.BATCH = 8, 4

    def listen(event):
        if isinstance(event, ProgressEvent) and event.done >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    names = find_images(root).names
    bulk.predict_folder(Model.load(bundle), root=root, names=names, out=out, top=2, workers=2, on_event=listen)


if __name__ == "__main__":
    main()
