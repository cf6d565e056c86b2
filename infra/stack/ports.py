"""Says in one line who holds a port, before a server says it in ten."""

import random
import socket
from collections.abc import Mapping

import psutil

from infra.stack.errors import StackError
from infra.stack.services import PORTS


def check(service: str, ports: Mapping[str, int]) -> None:
    """Refuse to start a service on a port that is taken.

    Args:
        service: Its name.
        ports: Its ports by name.

    Raises:
        StackError: If another process listens on one.
    """
    for port in ports.values():
        if not is_free(port):
            raise StackError(
                f"port {port} of {service} is taken by {holder(port)}; stop it, or run a stack of its own ports: "
                "python -m infra.stack up --folder .stack2 --offset 100"
            )


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def holder(port: int) -> str:
    """Return name and pid of the process that listens on a port, as far as this user may see it."""
    try:
        found = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        pid = next((each.pid for each in found if each.laddr and each.laddr.port == port and each.pid), None)
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else "a process of another user"
    except psutil.Error:
        return "another process"


def free_offset() -> int:
    """Return an offset at which every port of the table is free now, for a second stack.

    Raises:
        StackError: If none is found.
    """
    # Up to 3,300, all ports stay below 32,768, from where the system takes its own
    for offset in random.sample(range(30, 3300, 30), 100):
        if all(is_free(port + offset) for port in PORTS.values()):
            return offset
    raise StackError("no offset below 3300 leaves every port free; stop other stacks")
