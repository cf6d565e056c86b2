"""Fetch a folder and be killed, without a chance to tidy up, once some requests have been answered."""

import os
import signal
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

from protoquant.core.events import ignore
from protoquant.storage.client import connect
from protoquant.storage.location import Location
from protoquant.storage.mirror import Mirror


class Deadly:
    """A client of boto3 whose n-th GET ends the process."""

    def __init__(self, api, gets):
        self.api, self.gets, self.seen = api, gets, count(1)

    def __getattr__(self, name):
        return getattr(self.api, name)

    def get_object(self, **asked):
        if next(self.seen) > self.gets:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.api.get_object(**asked)


if __name__ == "__main__":
    uri, cache, gets = sys.argv[1:]
    client = connect()
    client = replace(client, api=Deadly(client.api, int(gets)), streams=2)
    Mirror.open(client, Location.parse(uri), Path(cache)).refresh(ignore)
