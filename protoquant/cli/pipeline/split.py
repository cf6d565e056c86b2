"""``protoquant split``: hand the split to other programs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from protoquant.cli.pipeline.stages import running

app = typer.Typer(help="Hand the split of prepare to other programs.", no_args_is_help=True)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The new folder.", show_default=False)],
) -> None:
    """Write train/CLASS/ and val/CLASS/, as a training script reads them; without the test images."""
    with running() as run:
        from protoquant.data.export_split import export_split

        counts = export_split(run.workspace.images, run.image_root(), out)
    Console().print(
        f"{out}: {counts['train']:,} images in train/, {counts['validation']:,} in val/; for timm's script: "
        f"--data-dir {out} --train-split train --val-split val",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
