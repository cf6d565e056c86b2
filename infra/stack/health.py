"""Whether a service works, asked as its clients would."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping

from infra.stack import programs
from infra.stack.place import Place
from infra.stack.services import Http, Service

SECONDS = 10


def is_healthy(service: Service, place: Place, environment: Mapping[str, str]) -> bool:
    """Ask one service once.

    Args:
        service: Which.
        place: Where it runs.
        environment: Of the command that asks.
    """
    if isinstance(service.health, Http):
        return answers(f"http://127.0.0.1:{place.port[service.name]}{service.health.path}")
    program, *words = place.words(service.health.words)
    command = [programs.find(program), *words]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def answers(url: str) -> bool:
    """Return whether a page answers 200; proxies are for other machines."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS) as page:
            return bool(page.status == 200)
    except (OSError, urllib.error.URLError):
        return False
