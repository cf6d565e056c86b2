"""Imports of large packages, in the verbs that need them."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import with garbage collection off: imported modules stay to the end, and torch makes 400,000 objects.

    The collector would walk through them again and again, which takes a fifth of the time of a short command.
    """
    searching, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if searching:
            gc.enable()
