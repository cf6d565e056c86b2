"""``python -m protoquant``."""

from protoquant.cli.main import main

main()
