"""``g4 models``: what can be run here, what could be fetched, and what each takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import OptionError
from ..environment import Environment, environment_of
from ..output.exit_codes import ExitCode
from ..output.help_pages import Command, Group
from ..output.numbers import size_text
from ..run import completers

if TYPE_CHECKING:
    from ...engine.model_info import ModelInfo, ModelMemory
    from ...hub.cache import ModelEntry
    from ...hub.published import PublishedInfo

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="List, download, delete and inspect models."
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Alias, folder or hub id.", autocompletion=completers.model_names
    ),
]
_ToPull = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Alias or hub id.", autocompletion=completers.published_names
    ),
]
_Cached = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Alias or hub id.", autocompletion=completers.cached_names),
]
_Yes = Annotated[bool, typer.Option("-y", "--yes", help="Skip the confirmation.")]
_Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on stderr but errors.")]

_ROW = "{:<12} {:>9} {:>9} {:<8} {}"
_HOW = (
    "MEMORY is an estimate from config and headers: weights, towers and the activations and cache "
    "of 8,192 tokens (of what is not here: the weights and 1 GB)"
)


@app.command("list", cls=Command)
def list_models(
    context: typer.Context,
    json: _Json = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also list the aliases that can be pulled.")
    ] = False,
) -> None:
    """List the models that run without a download: built in or in the hub cache."""
    from ... import api
    from ...machine.device import model_memory
    from ..output.results import write_json

    env = environment_of(context)
    entries = api.list_models()
    if not json:
        env.echo(_ROW.format("NAME", "SIZE", "MEMORY", "FITS", "FROM"))
    for entry in entries:
        if json:
            write_json(env.stdout, _entry_record(entry))
        else:
            fits = "yes" if entry.fits else "no"
            if entry.model is None:
                fits = "broken" if entry.complete else "partial"
            sizes = size_text(entry.size), size_text(entry.needs)
            env.echo(_ROW.format(entry.name, *sizes, fits, entry.repo or "built in"))
    if every:
        _list_published(env, {entry.repo for entry in entries}, json=json)
    if not json:
        env.say(f"{_HOW}; models may use {size_text(model_memory().limit)} here")


def _entry_record(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "repo": entry.repo,
        "path": str(entry.folder),
        "bytes": entry.size,
        "memory_bytes": entry.needs,
        "fits": entry.fits,
        "complete": entry.complete,
        "problem": entry.problem,
    }


def _list_published(env: Environment, cached: set[str | None], *, json: bool) -> None:
    """The aliases that are not in the cache; their memory is guessed from the weights' size."""
    from ...hub.cache import published
    from ..output.results import write_json

    missing = [model for model in published() if model.repo not in cached]
    if missing and not json:
        env.echo("To download, with g4 models pull NAME:")
    for model in missing:
        if json:
            write_json(
                env.stdout,
                {
                    "name": model.name,
                    "repo": model.repo,
                    "path": None,
                    "bytes": model.size,
                    "memory_bytes": model.needs,
                    "fits": model.fits,
                    "complete": False,
                    "problem": None,
                },
            )
        else:
            sizes = size_text(model.size), size_text(model.needs)
            word = "yes" if model.fits else "no"
            env.echo(_ROW.format(model.name, *sizes, word, model.repo))


@app.command("pull", cls=Command)
def pull(context: typer.Context, name: _ToPull, yes: _Yes = False, quiet: _Quiet = False) -> None:
    """Download a model into the hub cache and print its folder.

    Only the files that g4 reads are downloaded. An interrupted download is resumed.
    """
    from ...hub.cache import repo_of
    from ...hub.download import plan, require_disk
    from ..output.download_progress import announce, run

    env = environment_of(context)
    repo = repo_of(name)
    if not yes and not env.can_ask:
        raise OptionError(f"not a terminal; pass --yes to download {repo}")
    planned = plan(repo)
    if not quiet or not yes:
        announce(env, planned)
    require_disk(planned)
    if planned.missing and not yes and not env.confirm("Download it?"):
        env.say("nothing was downloaded")
        raise typer.Exit(ExitCode.FAILED)
    env.echo_path(run(env, planned, name, quiet=quiet))


@app.command("rm", cls=Command)
def remove(context: typer.Context, name: _Cached, yes: _Yes = False, quiet: _Quiet = False) -> None:
    """Delete a model from the hub cache, which other programs share."""
    from ...hub.cache import plan_removal
    from ...hub.cache import remove as delete

    env = environment_of(context)
    removal = plan_removal(name)
    if not yes and not env.can_ask:
        raise OptionError("not a terminal; pass --yes to delete it")
    if not yes:
        env.say(f"{removal.repo}: {size_text(removal.size)} in {removal.folder}")
        if not env.confirm("Delete it?"):
            env.say("nothing was deleted")
            raise typer.Exit(ExitCode.FAILED)
    delete(removal)
    if not quiet:
        env.say(f"{removal.repo} was deleted; {size_text(removal.size)} freed")


@app.command("path", cls=Command)
def model_path(context: typer.Context, name: _Name) -> None:
    """Print the folder of a model."""
    from ... import api

    environment_of(context).echo_path(api.model_path(name))


@app.command("info", cls=Command)
def model_info(context: typer.Context, name: _Name, json: _Json = False) -> None:
    """Show what a model is and how much memory it needs, without reading weights.

    Of an alias that is not in the cache it shows what is known before the download.
    """
    from ... import api
    from ...errors import ModelNotFoundError
    from ...hub.published import published_info
    from ..output.results import write_json

    env = environment_of(context)
    try:
        info = api.model_info(name)
    except ModelNotFoundError:
        if (known := published_info(name)) is None:
            raise
        if json:
            write_json(env.stdout, _published_record(known))
        else:
            env.echo("\n".join(_published_lines(known)))
        return
    if json:
        write_json(env.stdout, _info_record(info))
        return
    rows = {
        "name": info.name,
        "path": str(info.folder),
        "architecture": info.architecture,
        "inputs": ", ".join(info.inputs),
        "parameters": _count_text(info.parameters),
        "layers": f"{info.layers} of width {info.hidden_size}",
        "context": f"{info.context:,} tokens",
        "weights": f"{size_text(info.size)} in memory, {info.tensors} tensors, {info.dtype}",
        "quantized": "; ".join(info.quantization) or "no",
        "output head": "the embeddings (tied)" if info.tied else "its own (lm_head)",
        "cache": _cache_text(info),
    }
    for memory in info.memory:
        rows |= {f"{memory.tokens:,} tokens": _memory_text(memory)}
    rows["this machine"] = f"{size_text(info.memory_limit)} for models"
    for key, value in rows.items():
        env.echo(f"{key:<13} {value}")


def _info_record(info: ModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "path": str(info.folder),
        "architecture": info.architecture,
        "inputs": list(info.inputs),
        "parameters": info.parameters,
        "layers": info.layers,
        "hidden_size": info.hidden_size,
        "context": info.context,
        "dtype": info.dtype,
        "quantization": list(info.quantization),
        "tied_embeddings": info.tied,
        "tensors": info.tensors,
        "bytes": info.size,
        "memory": [
            {
                "tokens": memory.tokens,
                "weights": memory.run.text,
                "towers": memory.run.towers,
                "cache_sliding": memory.cache.sliding,
                "cache_full": memory.cache.full,
                "activations": memory.run.working,
                "total": memory.run.total,
            }
            for memory in info.memory
        ],
        "memory_limit": info.memory_limit,
    }


def _published_lines(info: PublishedInfo) -> Iterator[str]:
    rows = {
        "name": info.name,
        "repo": f"{info.repo}, not downloaded: g4 models pull {info.name}",
        "architecture": info.architecture,
        "inputs": ", ".join(info.inputs),
        "parameters": _count_text(info.parameters),
        "layers": f"{info.layers} of width {info.hidden_size}",
        "context": f"{info.context:,} tokens",
        "weights": f"{size_text(info.size)} to download, {info.quantization}",
    }
    for tokens, run in info.memory.items():
        rows |= {
            f"{tokens:,} tokens": f"about {size_text(run.total)}: weights {size_text(run.text)}\n"
            f"{'':<13} + cache {size_text(run.cache)} + activations {size_text(run.working)}"
        }
    rows["this machine"] = f"{size_text(info.memory_limit)} for models"
    rows["others"] = ", ".join(info.others)
    yield from (f"{key:<13} {value}" for key, value in rows.items() if value)


def _published_record(info: PublishedInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "repo": info.repo,
        "path": None,
        "architecture": info.architecture,
        "inputs": list(info.inputs),
        "parameters": info.parameters,
        "layers": info.layers,
        "hidden_size": info.hidden_size,
        "context": info.context,
        "quantization": [info.quantization],
        "bytes": info.size,
        "memory": [
            {
                "tokens": tokens,
                "weights": run.text,
                "activations": run.working,
                "cache": run.cache,
                "total": run.total,
            }
            for tokens, run in info.memory.items()
        ],
        "memory_limit": info.memory_limit,
        "others": list(info.others),
    }


def _cache_text(info: ModelInfo) -> str:
    sliding, stored = info.sliding_layers, info.stored_layers
    shared = info.layers - stored
    return f"{sliding} layers store {info.window} tokens, {stored - sliding} store all" + (
        f", {shared} share" if shared else ""
    )


def _memory_text(memory: ModelMemory) -> str:
    run = memory.run
    towers = f" + towers {size_text(run.towers)}" if run.towers else ""
    return (
        f"about {size_text(run.total)}: weights {size_text(run.text)}{towers}\n"
        f"{'':<13} + cache {size_text(run.cache)} + activations {size_text(run.working)}"
    )


def _count_text(count: int) -> str:
    """ "4.65 billion"."""
    if count < 1e9:
        return f"{count / 1e6:.2f} million"
    return f"{count / 1e9:.2f} billion"
