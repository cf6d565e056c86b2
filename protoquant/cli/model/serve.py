"""``protoquant serve``: a model over HTTP."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from protoquant.cli.model.predict import Weights
from protoquant.core.errors import UsageError

_MIB = 2**20


def serve(
    source: Annotated[str, typer.Argument(help="A bundle folder, or an MLflow URI such as models:/NAME@champion.")],
    *,
    weights: Weights = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 for a free one.")] = 8000,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A further name that clients may ask for, as behind a proxy; repeatable.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A private file with the token that clients must send as 'Authorization: Bearer TOKEN'; or set "
            "PROTOQUANT_SERVE_TOKEN. /health alone answers without it, and does not name the model."
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")] = False,
    queue: Annotated[
        int | None, typer.Option(help="Requests at work beyond which the answer is 429.", show_default="128")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images of one forward pass.", show_default="4")] = None,
    wait_ms: Annotated[float | None, typer.Option(help="How long a batch waits to be full.", show_default="0")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of one forward pass.", show_default="1")] = None,
    max_images: Annotated[int | None, typer.Option(help="Images of one request.", show_default="32")] = None,
    max_image_mib: Annotated[int | None, typer.Option(help="MiB of one image file.", show_default="20")] = None,
    max_request_mib: Annotated[int | None, typer.Option(help="MiB of one request.", show_default="64")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Pixels of one image.", show_default="40,000,000")] = None,
    body_timeout: Annotated[
        float | None, typer.Option(help="Seconds for a request to arrive.", show_default="10")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for its answer.", show_default="30")] = None,
    poll: Annotated[
        float | None, typer.Option(help="Seconds between two looks at the alias.", show_default="10")
    ] = None,
) -> None:
    """Answer over HTTP: /predict, /explain, /health and /metrics; follows the alias; Ctrl-C ends it."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "allowed_hosts": allowed_host,
        "insecure": insecure,
        "queue": queue,
        "batch": batch,
        "wait_ms": wait_ms,
        "threads": threads,
        "max_images": max_images,
        "max_image_bytes": max_image_mib and max_image_mib * _MIB,
        "max_request_bytes": max_request_mib and max_request_mib * _MIB,
        "max_pixels": max_pixels,
        "body_timeout": body_timeout,
        "timeout": timeout,
        "poll": poll,
    }
    try:
        from protoquant.serving.config import ServeConfig
        from protoquant.serving.run import run
    except ModuleNotFoundError as error:
        raise UsageError(f"serve needs {error.name}; install it with: pip install 'protoquant[serving]'") from error
    from protoquant.core.runtime import Runtime
    from protoquant.serving.http.token import read_token
    from protoquant.serving.versions import source_of

    values = {key: value for key, value in given.items() if value is not None}
    config = ServeConfig.parse(values, "serve", source="the options of protoquant serve")
    config = config.model_copy(update={"token": read_token(token_file, os.environ)})
    device = Runtime.from_environment().torch_device(config.threads)
    run(source_of(source, device, weights), config, on_ready=typer.echo)
