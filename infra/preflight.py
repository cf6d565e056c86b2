"""Says in one line, before anything is installed, why this machine cannot run the project.

It runs on whatever Python is there, so it is written for old versions.
"""

import os
import shutil
import sys

LOWEST, BEYOND = (3, 11), (3, 14)
INSTALLED_GB = 7.5  # measured: the pinned packages with bytecode; torch's CUDA libraries are most of it
WORK_GB = 1.0  # measured: artifacts and caches of the demo


def main():
    """Print the first obstacle and exit 1, or say what will be used."""
    if not LOWEST <= sys.version_info[:2] < BEYOND:
        stop(
            "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d; name one: make PYTHON=python3.12"
            % sys.version_info[:2]
        )
    try:
        import ensurepip  # noqa: F401  Debian ships it apart
    except ImportError:
        stop("this Python cannot make virtual environments; install python3-venv")
    if shutil.which("git") is None or not os.path.exists(".git"):
        stop("a git clone is needed (DVC and the lineage of models stand on it); use git clone, not an archive")
    needed = WORK_GB if os.path.exists(".venv/.installed") else INSTALLED_GB + WORK_GB
    free = shutil.disk_usage(".").free / 1e9
    if free < needed:
        stop("%.1f GB of free disk are needed here, there are %.1f" % (needed, free))
    sys.stdout.write(
        "Python %d.%d; needs %.1f GB of disk, %.1f GB are free\n" % (sys.version_info[:2] + (needed, free))
    )


def stop(reason):
    """Exit with an error of one line."""
    sys.stderr.write("error: %s\n" % reason)
    sys.exit(1)


if __name__ == "__main__":
    main()
