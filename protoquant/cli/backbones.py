"""``protoquant backbones``: which frozen networks there are, and what they give."""

import typer

app = typer.Typer(help="Which backbones there are, and what they give.", no_args_is_help=True)
