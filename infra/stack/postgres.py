"""Makes PostgreSQL's cluster once, as a user that may run it."""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from infra.stack import programs
from infra.stack.errors import StackError
from infra.stack.place import Place
from infra.stack.services import DATABASES, USER

ACCOUNT = "postgres"


def account() -> pwd.struct_passwd | None:
    """Return the user that runs the server in place of root, which may not; None for any other user.

    Raises:
        StackError: If root has no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise StackError(
            f"PostgreSQL does not run as root and there is no user {ACCOUNT}; run as an ordinary user, "
            f"or `useradd --system {ACCOUNT}`"
        ) from None


def make_cluster(data: Path, password: str) -> None:
    """Make the cluster unless it exists; a failed attempt leaves no cluster behind.

    Args:
        data: Folder of the cluster. If its user cannot reach it (a clone below /root), it becomes a link to a folder
            that the user can reach.
        password: Password of the superuser, which every connection needs.

    Raises:
        StackError: If initdb fails.
    """
    user = account()
    if (data / "PG_VERSION").exists():
        return
    home = data
    if user and not reaches(user, data.parent):
        home = Path(user.pw_dir) / f"protoquant-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"
        if not reaches(user, home.parent):
            raise StackError(f"user {ACCOUNT} reaches neither {data.parent} nor {home.parent}; choose another --folder")
    new = home.with_name(f"{home.name}.new")
    for old in (new, home):
        shutil.rmtree(old, ignore_errors=True)
    new.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=home.parent) as file:
        file.write(password)
        file.flush()
        if user:
            os.chown(new, user.pw_uid, user.pw_gid)
            os.chown(file.name, user.pw_uid, user.pw_gid)
        command = [programs.postgres("initdb"), "-D", str(new), "-U", USER, f"--pwfile={file.name}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **as_user(user))
    if done.returncode:
        raise StackError(f"initdb failed in {new}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    with (new / "postgresql.auto.conf").open("a") as file:
        file.write("unix_socket_directories = ''\n")  # the path of a deep folder would be too long for a socket
    new.rename(home)
    if home != data:
        data.unlink(missing_ok=True)
        data.symlink_to(home)


def set_password(data: Path, password: str) -> None:
    """Set the superuser's password while the server is down, whatever it was before.

    Raises:
        StackError: If PostgreSQL does not accept it.
    """
    command = [programs.postgres("postgres"), "--single", "-D", str(data.resolve()), "postgres"]
    words = f"ALTER ROLE {USER} PASSWORD '{password}'\n"
    done = subprocess.run(
        command, cwd="/", input=words, capture_output=True, text=True, check=False, **as_user(account())
    )
    if done.returncode or "ERROR" in done.stderr:
        raise StackError(f"PostgreSQL's password could not be set in {data}; stop what uses it and try again")


def reaches(user: pwd.struct_passwd, folder: Path) -> bool:
    """Return whether a user may pass through a folder; tested as that user, since access lists count too."""
    return subprocess.run(["test", "-x", str(folder)], cwd="/", check=False, **as_user(user)).returncode == 0


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return what subprocess needs to run a command as a user."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def make_databases(place: Place) -> None:
    """Make the missing databases."""
    import psycopg2

    connection = psycopg2.connect(
        host="127.0.0.1",
        port=place.port["postgres"],
        user=USER,
        password=place.secret["POSTGRES_PASSWORD"],
        dbname="postgres",
    )
    connection.autocommit = True  # a database cannot be made inside a transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        present = {name for (name,) in cursor.fetchall()}
        for name in DATABASES:
            if name not in present:
                cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
