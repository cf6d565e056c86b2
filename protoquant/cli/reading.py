"""The verbs that use a trained model: predict, explain, verify."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A bundle folder, or an MLflow URI such as models:/NAME@challenger.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
