"""A folder of programs for PATH that are forked rather than started: seconds of imports become a few hundredths."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warm import client, server


@contextmanager
def warm_programs() -> Iterator[Path]:
    """Start a server and yield a folder ``bin`` whose ``protoquant``, ``dvc`` and ``warm-python`` it runs.

    The environment is that of this process by links, so a command that starts others through ``sys.executable``, or
    through the folder of it, finds the same packages and these programs.
    """
    own = Path(sys.prefix)
    with tempfile.TemporaryDirectory(prefix="warm-") as made:  # short: the path of a socket has 107 bytes at most
        root = Path(made)
        (root / "bin").mkdir()
        (root / "lib").symlink_to(own / "lib")
        (root / "pyvenv.cfg").write_bytes((own / "pyvenv.cfg").read_bytes())
        (root / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        socket = root / "socket"
        text = f"#!{Path(sys.executable).resolve()}\n{Path(client.__file__).read_text()}\n\nmain({str(socket)!r})\n"
        for name in (*server.MAINS, server.SCRIPT):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        words = [str(root / "bin" / "python"), server.__file__, str(socket)]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the warm server did not start"
            yield root / "bin"
            process.communicate()
