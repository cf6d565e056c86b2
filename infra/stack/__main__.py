"""``python -m infra.stack``: up, down, status, login, env, secrets."""

import argparse
import sys
from pathlib import Path

from infra.stack import certificates, passwords
from infra.stack.errors import StackError
from infra.stack.services import SERVICES, USER
from infra.stack.stack import ROOT, Stack

COMPOSE_SECRETS = ROOT / "infra" / ".env"
COMPOSE_CERTIFICATES = ROOT / "infra" / "certificates"


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command; those of the process if None.

    Returns:
        0 if done (for ``status``: if all is healthy), 1 if not.
    """
    words = parser().parse_args(arguments)
    try:
        return int(words.run(Stack(words.folder, offset=words.offset), words))
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m infra.stack", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (up, "start what is not healthy, in order; again changes nothing"),
        (down, "stop all in reverse order and keep the data"),
        (status, "one line for each service; exit code 1 unless all are healthy"),
        (env, "the variables with which tools find the stack, for `source`"),
        (login, "print what the pages of MLflow and Prefect ask for"),
        (secrets, "make the passwords of infra/compose.yaml; with --rotate: replace those of the stack"),
    ):
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument("--folder", type=Path, default=ROOT / ".stack", help="data, logs, passwords (.stack)")
        command.add_argument("--offset", type=int, help="added to every port, at the first start")
        command.add_argument("--without", type=names, default=(), metavar="A,B", help="services to leave alone")
        if run is down:
            command.add_argument("--erase", action="store_true", help="remove data, passwords and logs too")
        if run is secrets:
            rotated = "replace every secret of the stack and start it again"
            command.add_argument("--rotate", action="store_true", help=rotated)
    return top


def names(text: str) -> tuple[str, ...]:
    """Read a list of services.

    Raises:
        ArgumentTypeError: If there is no such service.
    """
    found = tuple(filter(None, text.split(",")))
    for name in found:
        if name not in SERVICES:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(SERVICES)}, got {name}")
    return found


def chosen(words: argparse.Namespace) -> list[str]:
    """Return the services that ``--without`` does not name."""
    return [name for name in SERVICES if name not in words.without]


def up(stack: Stack, words: argparse.Namespace) -> int:
    """Start the services, then print where they are."""
    stack.up(chosen(words), say=say)
    say(f"\nfor a shell that meets the stack: source {stack.folder / 'env'}")
    usual = stack.folder == ROOT / ".stack"
    shown = "make stack-login" if usual else f"python -m infra.stack login --folder {stack.folder}"
    say(f"what its pages ask for, once: {shown}\n")
    return status(stack, words)


def down(stack: Stack, words: argparse.Namespace) -> int:
    """Stop the services, and erase the stack if asked to."""
    stack.down(say=say)
    if words.erase:
        stack.erase()
    return 0


def status(stack: Stack, words: argparse.Namespace) -> int:
    """Print a table of the services."""
    found = stack.status(chosen(words))
    table(("service", "state", "url", "log"), *((each.name, each.state, each.url, str(each.log)) for each in found))
    return 0 if all(each.state == "healthy" for each in found) else 1


def env(stack: Stack, _: argparse.Namespace) -> int:
    """Print the variables with which tools find the stack."""
    say(passwords.shell(stack.env()).rstrip())
    return 0


def login(stack: Stack, _: argparse.Namespace) -> int:
    """Print the logins of the pages."""
    known = stack.env()
    prefect = known["PREFECT_API_URL"].removesuffix("/api")
    table(
        ("page", "user", "password"),
        (prefect, "(none)", known["PREFECT_API_AUTH_STRING"]),
        (known["MLFLOW_TRACKING_URI"], USER, known["MLFLOW_TRACKING_PASSWORD"]),
    )
    return 0


def secrets(stack: Stack, words: argparse.Namespace) -> int:
    """Make the secrets that compose.yaml needs, or replace those of the stack."""
    if words.rotate:
        stack.rotate(say=say)
        return 0
    passwords.keep(COMPOSE_SECRETS)
    certificates.keep(COMPOSE_CERTIFICATES)
    say(f"passwords are in {COMPOSE_SECRETS} and {COMPOSE_CERTIFICATES}, which git ignores")
    return 0


def table(*rows: tuple[str, ...]) -> None:
    """Write aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say(line: str) -> None:
    """Write a line and flush it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
