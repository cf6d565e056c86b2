"""Run extract with a shared cache and end by kill -9 before the n-th PUT. Called by test_shared alone."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import torch

from protoquant.core.events import ignore
from protoquant.features.config import ExtractConfig
from protoquant.features.extract import extract
from protoquant.storage.location import Location
from protoquant.storage.objects import ObjectFolder


class Deadly:
    """A client of boto3 whose n-th PUT ends the process."""

    def __init__(self, api, puts):
        self.api, self.puts, self.seen = api, puts, count(1)

    def __getattr__(self, name):
        return getattr(self.api, name)

    def put_object(self, **asked):
        if next(self.seen) >= self.puts:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.api.put_object(**asked)


def opened(uri, puts):
    folder = ObjectFolder.open(Location.parse(uri), 1)
    return replace(folder, client=replace(folder.client, api=Deadly(folder.client.api, puts)))


if __name__ == "__main__":
    folder, config, shared, puts = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    extract(
        ExtractConfig.model_validate_json(config),
        images=folder / "images",
        root=folder / "photos",
        out=folder / "killed",
        cache=folder / "killed-cache",
        device="cpu",
        seed=0,
        workers=2,
        on_event=ignore,
        shared=partial(opened, shared, puts),
    )
