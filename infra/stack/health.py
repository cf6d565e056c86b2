"""Checks whether a service works, as its clients would: with their secret, if it has one."""

import base64
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.stack import programs
from infra.stack.place import Place
from infra.stack.services import Http, Service

SECONDS = 10
ASK = (
    "import base64, os, sys, urllib.request as r; url, *names = sys.argv[1:]; "
    "login = base64.b64encode(':'.join(os.environ[name] for name in names).encode()).decode(); "
    "r.urlopen(r.Request(url, headers={'Authorization': f'Basic {login}'} if names else {}), timeout=5)"
)
"""Health check that a container runs; its command line names the variables of a login, not their values."""


def is_healthy(service: Service, place: Place, environment: Mapping[str, str], root: Path) -> bool:
    """Check one service once.

    Args:
        service: The service.
        place: Where it runs.
        environment: Environment of the service.
        root: The clone, in which a health command runs.
    """
    health = service.health
    if isinstance(health, Http):
        url = place.page(service.name, health.path)
        return answers(url, ":".join(environment[name] for name in health.login))
    program, *words = place.words(health.words)
    command = [programs.find(program), *words]
    try:
        done = subprocess.run(
            command, env=dict(environment), cwd=root, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def container_words(service: Service, place: Place) -> list[str]:
    """Return the command with which a container checks itself."""
    health = service.health
    if isinstance(health, Http):
        return ["python", "-c", ASK, place.page(service.name, health.path), *health.login]
    return list(place.words(health.words))


def answers(url: str, login: str = "") -> bool:
    """Return whether a page answers 200; proxies are bypassed, since they are for other machines.

    Args:
        url: The page.
        login: ``user:password`` of HTTP's basic authentication; none if empty.
    """
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=SECONDS) as page:  # noqa: S310
            return bool(page.status == 200)
    except (OSError, urllib.error.URLError):
        return False
