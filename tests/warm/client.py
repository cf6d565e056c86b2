"""A command of the warm server: hands it words, folder, environment, cores and files; ends as the command ends."""

import json
import os
import signal
import socket
import sys


def main(server: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: connection.send(bytes([received])))
        connection.connect(server)
        request = {
            "argv": sys.argv,
            "cwd": os.getcwd(),  # noqa: PTH109
            "environment": dict(os.environ),
            "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,  # not on macOS
        }
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\0")
        code = int(connection.recv(16) or 1)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
