"""``g4 serve``: a model for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import OptionError
from ...options import SERVER_PORT
from ..environment import Environment
from ..run.options import RunOptions
from ..run.shared_options import runs_a_model_differently

_QUEUE = 64
_BODY_MB = 64
_WHO = "Who may call"
_LIMITS = "Limits"
_REQUESTS = "each request says that"


@runs_a_model_differently(
    refused={
        "stop": "each request has its own",
        "schema": "a request has its schema in response_format",
        "output": "serve writes no file",
        "json": "serve prints no answers",
        "pictures": "serve shows no pictures",
        "server": "serve is the server, and needs the model itself",
    },
    helps={
        "max_tokens": "Length of an answer whose request sets none. (default: 2048)",
        "temperature": "Temperature where a request sets none. (default: the model's)",
        "top_p": "Nucleus sampling where a request sets none. (default: the model's)",
        "top_k": "Likeliest tokens where a request sets none. (default: the model's)",
        "seed": "Seed where a request sets none.",
        "think": "Let the model think where a request does not say.",
        "quiet": "Nothing on stderr but errors; no line for each request.",
    },
)
def serve(
    run: RunOptions,
    env: Environment,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Adapter (LoRA or DoRA) to serve the model with, beside the model itself: folder "
            "or hub id, or NAME=FOLDER, where NAME is what clients call it (repeatable).",
            rich_help_panel="Model",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; others than this machine's own need a token. unix:/PATH is "
            "a socket that only you can use.",
            rich_help_panel=_WHO,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            help="Port to listen on; 0 is any that is free.",
            rich_help_panel=_WHO,
        ),
    ] = SERVER_PORT,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What clients must send as their API key. Other users see the command line: "
            "G4_SERVE_TOKEN is safer.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    allow_origin: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGINS",
            help="Web pages that may call, such as http://localhost:3000, with commas between "
            "several; * is all.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    allow_media_urls: Annotated[
        bool,
        typer.Option(
            "--allow-media-urls",
            help="Download media that requests give as http(s) URLs of public hosts.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Requests to answer at once; further ones wait. (default: as memory allows)",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Requests that are answered or wait; others are told to try again.",
            rich_help_panel=_LIMITS,
        ),
    ] = _QUEUE,
    max_body: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=100_000,
            metavar="MB",
            help="Size of a request with its media.",
            rich_help_panel=_LIMITS,
        ),
    ] = _BODY_MB,
) -> None:
    """Answer other programs over HTTP, as OpenAI's API does.

    Clients get the address http://127.0.0.1:11535/v1, and any API key unless there is a token.
    Ctrl-C ends it.
    """
    from ...lookups import is_loopback, unix_path
    from ...server.served import ServerOptions
    from .serve_run import run_server

    if allow_media_urls and run.offline:
        raise OptionError("--allow-media-urls and --offline exclude each other")
    if token is not None and (token.strip() != token or not token.isprintable()):
        raise OptionError("--token must not begin or end with a space, and be printable")
    if token is None and not is_loopback(host) and unix_path(host) is None:
        raise OptionError(
            f"--host {host} lets other machines call: set a token in G4_SERVE_TOKEN, which clients "
            "send as their API key"
        )
    options = ServerOptions(
        token=token,
        hosts=ServerOptions().hosts | {host.strip("[]").lower()},
        origins=_origins(allow_origin or ""),
        media_urls=allow_media_urls,
        most_body=int(max_body * (1 << 20)),
        most_requests=queue,
        generate=run.generate_options(),
    )
    run_server(env, run, options, adapters=adapter or (), host=host, port=port, slots=slots)


def _origins(given: str) -> frozenset[str]:
    """Origins with commas between them, as browsers send them. Raises OptionError."""
    origins = given.replace(",", " ").split()
    for origin in origins:
        scheme, separator, place = origin.partition("://")
        if origin != "*" and not (scheme and separator and place and "/" not in place):
            raise OptionError(
                f"--allow-origin: {origin!r} is no origin: write scheme, host and port, such as "
                "http://localhost:3000, or *"
            )
    return frozenset(origin.lower() for origin in origins)
