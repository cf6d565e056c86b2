"""The application: every verb, in the order of the data flow, then those that read and manage."""

import atexit
import gc
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from protoquant.cli.model import assess, drift, export, predict, prune, serve
from protoquant.cli.pipeline import backbones, cache, config, doctor, plan, runs, split, stages, sweep
from protoquant.cli.remote import registry, storage, tracking
from protoquant.core.errors import ProtoQuantError
from protoquant.core.machine.cores import share_cores
from protoquant.core.machine.proxies import spare_loopback

_STAGES, _READ = "Stages, in the order of the pipeline (dvc repro runs them)", "Use a model"
_SMALLER, _SEARCH, _MANAGE = "Make a model smaller", "Try many settings", "Look and manage"


class _OneLineErrors(TyperGroup):
    """Reports an expected error as one line and exits with its code; ``-v`` shows the trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except (ProtoQuantError, OSError) as error:
            if ctx.params.get("verbose"):
                sys.stderr.write(_trace())
                sys.exit(getattr(error, "exit_code", 1))
            Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
            sys.exit(getattr(error, "exit_code", 1))


def _trace() -> str:
    """The trace of the present error, without the passwords of addresses in it."""
    import traceback

    from protoquant.tracking.connection.address import without_password

    return without_password(traceback.format_exc())


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    *,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log more, and show the trace of an error.")] = False,
) -> None:
    """Image classifiers that explain themselves with parts: this region looks like that training patch."""
    from protoquant.core.log import configure

    configure(Console(stderr=True), verbose=verbose)


for _stage in stages.VERBS:
    app.command(rich_help_panel=_STAGES)(_stage)
app.command(rich_help_panel=_READ)(predict.predict)
app.command(rich_help_panel=_READ)(predict.explain)
app.command(rich_help_panel=_READ)(assess.assess)
app.command(rich_help_panel=_READ)(export.export)
app.command(rich_help_panel=_READ)(drift.drift)
app.command(rich_help_panel=_READ)(serve.serve)
app.command(rich_help_panel=_READ)(predict.verify)
app.command(rich_help_panel=_SMALLER)(prune.prune)
app.command(rich_help_panel=_SMALLER)(prune.study)
app.add_typer(sweep.app, name="sweep", rich_help_panel=_SEARCH)
app.command(rich_help_panel=_MANAGE)(doctor.doctor)
app.command(rich_help_panel=_MANAGE)(plan.plan)
app.add_typer(config.app, name="config", rich_help_panel=_MANAGE)
app.add_typer(backbones.app, name="backbones", rich_help_panel=_MANAGE)
app.add_typer(split.app, name="split", rich_help_panel=_MANAGE)
app.add_typer(cache.app, name="cache", rich_help_panel=_MANAGE)
app.add_typer(runs.app, name="runs", rich_help_panel=_MANAGE)
app.add_typer(registry.app, name="registry", rich_help_panel=_MANAGE)
app.add_typer(tracking.app, name="tracking", rich_help_panel=_MANAGE)
app.add_typer(storage.app, name="storage", rich_help_panel=_MANAGE)
app.command(rich_help_panel=_MANAGE)(storage.publish)


def main() -> None:
    """Entry point of the ``protoquant`` command."""
    share_cores()  # no verb has imported torch yet
    spare_loopback()
    # At exit, this spares a last garbage collection, which takes a second once torch is imported.
    atexit.register(gc.freeze)
    app()
