"""Joins a Ray cluster for the duration of a block, and checks its resources before anything waits for them."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from protoquant.core.errors import ProtoQuantError, UnavailableError, UsageError, one_line
from protoquant.core.machine.cores import WAITING, cores, share_cores

ADDRESS_VARIABLE = "RAY_ADDRESS"
TLS_VARIABLE = "RAY_USE_TLS"
_PATIENCE = 5.0  # seconds for the head to answer; Ray itself would try for minutes
_LONGEST_TEMPORARY = 39
"""Bytes of a folder's name that leave room for Ray's own: the path of a socket has at most 107."""
_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


@dataclass(frozen=True)
class Cluster:
    """The resources of a Ray cluster that this process has joined.

    Attributes:
        address: Address of the head; ``local`` if this process started Ray for itself.
        nodes: Resources of each living node, such as ``{"CPU": 8.0, "GPU": 1.0}``.
    """

    address: str
    nodes: Sequence[Mapping[str, float]]

    def total(self, resource: str) -> float:
        """How much of a resource all nodes have together."""
        return sum(node.get(resource, 0.0) for node in self.nodes)

    def require(self, what: str, *, cpus: float, gpus: float) -> None:
        """Refuse a request that no node can meet; Ray would wait forever for such a node.

        Args:
            what: Keys that the user set, for the error, such as ``sweep.cpus and sweep.gpus``.
            cpus: Processors that one process needs.
            gpus: GPUs, or a fraction of one, that it needs.

        Raises:
            UsageError: No node has both.
        """
        if any(node.get("CPU", 0.0) >= cpus and node.get("GPU", 0.0) >= gpus for node in self.nodes):
            return
        had = "; ".join(f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs" for node in self.nodes)
        raise UsageError(
            f"{what} ask for {cpus:g} CPUs and {gpus:g} GPUs in one process, no node of Ray at {self.address} has them "
            f"(there: {had}); lower them"
        )

    def require_room(self, what: str, processes: int, *, gpus: float) -> None:
        """Refuse more processes, of one processor each, than all nodes have room for.

        Args:
            what: As for ``require``.
            processes: Number of processes.
            gpus: GPUs, or a fraction of one, that each needs.

        Raises:
            UsageError: The nodes have no room for them.
        """
        self.require(what, cpus=1, gpus=gpus)
        room = sum(
            min(int(node.get("CPU", 0.0)), int(node.get("GPU", 0.0) / gpus) if gpus else processes)
            for node in self.nodes
        )
        if processes > room:
            raise UsageError(f"{what} must be at most {room}, which Ray's nodes have room for, got {processes}")

    @property
    def named_nodes(self) -> str:
        """The number of nodes, in words."""
        return f"{len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''}"


@contextmanager
def joined() -> Iterator[Cluster]:
    """Join the cluster that ``RAY_ADDRESS`` names, or start one on this machine that ends with the block.

    Raises:
        UsageError: The address is not valid. UnavailableError: Nothing answers there. ProtoQuantError: Ray refuses us.
    """
    address = os.environ.get(ADDRESS_VARIABLE, "local")
    if address not in ("local", "auto"):
        _check_answers(address)
    if address == "local":
        os.environ.pop(TLS_VARIABLE, None)  # the certificate belongs to another cluster
    share_cores()  # local Ray processes inherit this; those of a cluster get it below
    os.environ.update({name: os.environ.get(name, value) for name, value in _SETTINGS.items()})
    import ray

    if address not in ("local", "auto") and "://" not in address:
        _check_token(address)

    with _short_folder(address) as temporary:
        own: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False, "_temp_dir": temporary}
        if address != "local":
            # Processes of a cluster are not our children: PYTHONPATH makes them run the code of this worktree.
            waiting = {name: os.environ[name] for name in WAITING if name in os.environ}
            path = os.pathsep.join(path for path in sys.path if path)
            own = {"runtime_env": {"env_vars": {"PYTHONPATH": path, **waiting}}}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = one_line(error)[:300]
            raise UnavailableError(f"{ADDRESS_VARIABLE}: Ray at {address} refuses: {reason}") from error
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            yield Cluster(address, nodes)
        finally:
            ray.shutdown()


@contextmanager
def _short_folder(address: str) -> Iterator[str | None]:
    """A folder for Ray's sockets where that for temporary files has too long a name; None where it will do."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if address != "local" or len(os.fsencode(usual)) <= _LONGEST_TEMPORARY:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


def _check_answers(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65_535:
        raise UsageError(f"{ADDRESS_VARIABLE} must be HOST:PORT of a Ray head, or local, got {address!r}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as head:
            plain = _is_plain(head)
    except OSError as error:
        raise UnavailableError(
            f"{ADDRESS_VARIABLE}: no Ray at {address} ({error.strerror or error}); start it, or unset the variable "
            f"to use this machine"
        ) from error
    if plain == (os.environ.get(TLS_VARIABLE, "").lower() in ("1", "true")):  # as Ray reads it
        wanted = f"{TLS_VARIABLE} is set" if plain else f"it asks for a certificate, and {TLS_VARIABLE} is not set"
        raise _refused(address, wanted)


def _is_plain(head: socket.socket) -> bool:
    """Whether a head speaks HTTP/2 without TLS; Ray itself would try one of the other kind for a minute."""
    head.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")  # then empty settings
    try:
        return head.recv(9)[3:4] == b"\4"  # the head's settings
    except ConnectionError:
        return False


def _check_token(address: str) -> None:
    """Check the token with one request; Ray itself would try twenty times and not say why."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        GcsClient(address=address)
    except AuthenticationError:
        raise _refused(address, "RAY_AUTH_TOKEN is wrong or not set") from None


def _refused(address: str, why: str) -> ProtoQuantError:
    return ProtoQuantError(f"{ADDRESS_VARIABLE}: Ray at {address} refuses: {why}; for the stack: source .stack/env")
