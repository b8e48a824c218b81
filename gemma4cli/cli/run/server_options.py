"""``--server``: what it means for the other options, and the model that is served there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import typer

from ...errors import OptionError
from .model_command import is_typed
from .options import RunOptions

NO_SERVER = "none"
_OF_LOADING = ("adapter", "dtype", "draft", "kv_bits", "prefill_step")
"""Parameters that say how a model is loaded and run, which whoever serves it has decided."""


def checked_for_server(context: typer.Context, run: RunOptions) -> RunOptions:
    """The options of a run, without what is set for models that are loaded here.

    What is typed must fit to the server. Raises OptionError.
    """
    if run.server in (None, "", NO_SERVER):
        return replace(run, server=None)
    from ...remote.address import address_of

    address = address_of(run.server)
    if run.offline and not address.is_this_machine:
        raise OptionError("--offline: --server is reached over the network: leave out one of them")
    if is_typed(context, "adapter"):
        raise OptionError(
            "--server: adapters are loaded by the server: choose one by its name there, with -m, "
            "and leave out --adapter"
        )
    for name in _OF_LOADING:
        if is_typed(context, name):
            raise OptionError(
                f"--server: the model is loaded by the server, which has decided that: leave out "
                f"{_flag(context, name)}"
            )
    default = RunOptions()
    kept: Mapping[str, Any] = {name: getattr(default, name) for name in _OF_LOADING}
    # What is set names the model to load where there is no server.
    model = run.model if is_typed(context, "model") else None
    return replace(run, server=str(address), model=model, **kept)


def _flag(context: typer.Context, name: str) -> str:
    (flag,) = [each.opts[-1] for each in context.command.params if each.name == name]
    return flag
