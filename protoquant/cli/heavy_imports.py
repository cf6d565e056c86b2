"""Imports of large packages, in the verbs that need them."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import without the search for garbage: what is imported stays to the end, and torch makes 400,000 objects.

    The search would walk through them again and again, for a fifth of the time that a short command takes.
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
