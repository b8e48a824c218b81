"""``g4 models``: what can be run here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import api
from .results import write_json

app = typer.Typer(no_args_is_help=True, help="List models and say what they are.")

_Json = Annotated[bool, typer.Option("--json", help="JSON, one object per line.")]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Alias, folder or hub id.")]


@app.command("list")
def list_models(json: _Json = False) -> None:
    """List the models that run without a download: built in, or in the hub cache."""
    for entry in api.list_models():
        if json:
            write_json(
                sys.stdout,
                {
                    "name": entry.name,
                    "repo": entry.repo,
                    "path": str(entry.folder),
                    "bytes": entry.size,
                },
            )
        else:
            typer.echo(f"{entry.name:<12} {_size(entry.size):>9}  {entry.repo or 'built in'}")


@app.command("path")
def model_path(name: _Name) -> None:
    """Print the folder of a model."""
    typer.echo(api.model_path(name))


@app.command("info")
def model_info(name: _Name, json: _Json = False) -> None:
    """Say what a model is and what it takes; reads no weights."""
    info = api.model_info(name)
    if json:
        write_json(
            sys.stdout,
            {
                "name": info.name,
                "path": str(info.folder),
                "architecture": info.architecture,
                "inputs": list(info.inputs),
                "layers": info.layers,
                "hidden_size": info.hidden_size,
                "context": info.context,
                "dtype": info.dtype,
                "quantization": list(info.quantization),
                "tensors": info.tensors,
                "bytes": info.size,
            },
        )
        return
    rows = {
        "name": info.name,
        "path": str(info.folder),
        "architecture": info.architecture,
        "inputs": ", ".join(info.inputs),
        "layers": f"{info.layers} of width {info.hidden_size}",
        "context": f"{info.context:,} tokens",
        "weights": f"{_size(info.size)} in memory, {info.tensors} tensors, {info.dtype}",
        "quantised": "; ".join(info.quantization) or "no",
    }
    for key, value in rows.items():
        typer.echo(f"{key:<13} {value}")


def _size(count: int) -> str:
    """Bytes for people, in powers of ten as the hub counts."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"
