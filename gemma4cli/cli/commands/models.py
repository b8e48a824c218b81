"""``g4 models``: what can be run here, what could be fetched, and what each takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...distributed.launch import processes
from ...errors import OptionError
from ..environment import Environment, environment_of
from ..output.exit_codes import ExitCode
from ..output.help_pages import DEBUG, Command, Group
from ..output.numbers import size_text
from ..run import completers

if TYPE_CHECKING:
    from ...hub.inventory import ModelEntry

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
    """List the models and adapters that run without a download: built in or in the hub cache."""
    from ... import api
    from ...machine.device import device, memory_limit
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
            env.echo_row(_ROW.format(entry.name, *sizes, fits, entry.repo or "built in"))
    _list_drafters(env, json=json)
    _list_adapters(env, json=json)
    if every:
        _list_published(env, {entry.repo for entry in entries}, json=json)
    for entry in entries:
        if entry.fault is not None:
            env.say_error(entry.fault, about=entry.name, debug=context.meta[DEBUG])
        elif entry.problem is not None and entry.complete and not json:
            env.say(f"{entry.name} is damaged: {entry.problem}")
    if not json:
        limit = size_text(memory_limit(device()))
        count = processes(env.variables)
        where = "here" if count == 1 else f"here, and so in each of {count} processes"
        env.say(f"{_HOW}; models may use {limit} {where}")
    if any(entry.fault is not None for entry in entries):
        raise typer.Exit(ExitCode.SOME_FAILED)


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


def _list_drafters(env: Environment, *, json: bool) -> None:
    """The drafters in the cache, which are used with the models they are named after."""
    from ...hub.drafters import cached_drafters
    from ..output.results import write_json

    drafters = cached_drafters()
    if drafters and not json:
        env.echo("Drafters, each used with the model it is named after:")
    for each in drafters:
        if json:
            write_json(
                env.stdout,
                {
                    "drafter": each.repo,
                    "path": str(each.folder),
                    "bytes": each.size,
                    "problem": each.problem,
                },
            )
        else:
            remark = "" if each.problem is None else f"  {each.problem}"
            env.echo_row(f"{each.repo}  {size_text(each.size)}{remark}")


def _list_adapters(env: Environment, *, json: bool) -> None:
    """The adapters in the cache, each with the model that it is for."""
    from ...hub.adapters import cached_adapters
    from ..output.results import write_json
    from .model_facts import adapter_record

    adapters = list(cached_adapters())
    if adapters and not json:
        env.echo("Adapters, each for --adapter with the model it was trained on:")
    for each in adapters:
        if json:
            record = {"path": str(each.folder), "base": each.base}
            facts = record if each.file is None else adapter_record(each.file)
            write_json(env.stdout, {"adapter": each.repo, **facts, "problem": each.problem})
        elif each.file is None:
            env.echo_row(f"{each.repo}  {each.problem}")
        else:
            base = f"  {each.base}" if each.base else ""
            size = size_text(each.file.size())
            env.echo_row(f"{each.repo}  {size}  {each.file.summary}{base}")


def _list_published(env: Environment, cached: set[str | None], *, json: bool) -> None:
    """The aliases that are not in the cache; their memory is guessed from the weights' size."""
    from ...hub.inventory import published
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
            env.echo_row(_ROW.format(model.name, *sizes, word, model.repo))


@app.command("pull", cls=Command)
def pull(context: typer.Context, name: _ToPull, yes: _Yes = False, quiet: _Quiet = False) -> None:
    """Download a model into the hub cache and print its folder.

    Only the files that g4 reads are downloaded. An interrupted download is resumed.
    """
    from ...hub.download import plan, require_disk
    from ...hub.names import repo_of
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
    from ...hub.removal import plan_removal
    from ...hub.removal import remove as delete

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


@app.command("merge", cls=Command)
def merge_adapter(
    context: typer.Context,
    name: _Name,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER", help="New folder for the checkpoint."),
    ],
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Adapter, folder or hub id. (default: NAME is one)",
            autocompletion=completers.adapters,
        ),
    ] = None,
    quiet: _Quiet = False,
) -> None:
    """Write a checkpoint with an adapter merged into a model's weights.

    It has the model's layout, types and quantization: mlx-lm and transformers load it as they load
    the model.
    """
    from .merge import merge_into

    merge_into(environment_of(context), name, adapter, output, quiet=quiet)


@app.command("path", cls=Command)
def model_path(context: typer.Context, name: _Name) -> None:
    """Print the folder of a model."""
    from ... import api

    environment_of(context).echo_path(api.model_path(name))


@app.command("info", cls=Command)
def model_info(
    context: typer.Context,
    name: _Name,
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Adapter to show it with: folder or hub id.",
            autocompletion=completers.adapters,
        ),
    ] = None,
    json: _Json = False,
) -> None:
    """Show what a model is and how much memory it needs, without reading weights.

    Of an alias that is not in the cache it shows what is known before the download.
    """
    from ... import api
    from ...errors import ModelNotFoundError
    from ...hub.published import published_info
    from ..output.results import write_json
    from .model_facts import info_lines, info_record, published_lines, published_record

    env = environment_of(context)
    try:
        info = api.model_info(name, adapter=adapter)
    except ModelNotFoundError:
        if adapter is not None or (known := published_info(name)) is None:
            raise
        lines, record = published_lines(known), published_record(known)
    else:
        lines, record = info_lines(info), info_record(info)
    if json:
        write_json(env.stdout, record)
    else:
        env.echo("\n".join(lines))
