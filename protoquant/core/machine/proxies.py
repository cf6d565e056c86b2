"""Keeps requests to servers of this machine away from a proxy that the environment names."""

import os
from collections.abc import MutableMapping

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_OWN = ("localhost", "127.0.0.1", "::1")


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add the names of this machine to ``no_proxy`` where a proxy is set, for this process and those that it starts.

    A proxy would look for the server on its own machine; MLflow, Prefect and S3 clients all obey the variable.
    """
    names = {name.lower() for name, value in environment.items() if value}
    if names.isdisjoint(_PROXIES):
        return
    held = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in held.split(",") if host.strip()]
    if "*" not in hosts:
        hosts += [host for host in _OWN if host not in hosts]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(hosts)
