"""``protoquant cache``: the feature shards that all runs of this repository share."""

import typer

app = typer.Typer(help="The feature shards that all runs share.", no_args_is_help=True)
