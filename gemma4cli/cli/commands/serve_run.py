"""What ``g4 serve`` does from the first to the last request."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ...errors import ClosingError
from ...lookups import unix_path
from ..environment import Environment
from ..escapes import one_line
from ..run.options import RunOptions
from ..run.runner import found_model

if TYPE_CHECKING:
    from ...engine.local import LocalModel
    from ...hub.adapter_files import AdapterFile
    from ...server.served import ServerOptions
    from ...serving.queued_model import QueuedModel

_FINISH_SECONDS = 20.0
"""In which answers may end that have begun when the server is stopped."""
_LEAVE_SECONDS = 2.0


def run_server(
    env: Environment,
    run: RunOptions,
    options: ServerOptions,
    *,
    host: str,
    port: int,
    slots: int | None,
) -> None:
    """Listen, load the model, and answer until a signal comes, which is raised again."""
    from ...machine.heap import share_one_heap
    from ...server.app import make_app
    from ...server.listening import HttpThread, bound_socket, url_of
    from ...server.served import Served

    def log(line: str) -> None:
        if not run.quiet:
            env.say(one_line(line))

    # At once, as loading takes long and the port may be taken.
    with closing(bound_socket(host, port)) as bound:
        share_one_heap()  # each request has a thread, and none of them the same heap otherwise
        load = _Loading(env, run)
        served = Served(
            options, load.names, on_error=lambda error: env.say_error(error, debug=run.debug)
        )
        with HttpThread(make_app(served, log), bound) as http:
            model = load.queued(options.most_requests, slots)
            served.ready(model)
            try:
                if not run.quiet:
                    env.say(f"{served.names[0]} is at {_shown(url_of(bound))} (Ctrl-C ends it)")
                http.wait()
            finally:
                served.closing()
                http.stop()
                _finish(env, run, model)


def _shown(url: str) -> str:
    """What clients of OpenAI's API are given; a unix socket has no form that they all know."""
    return url if unix_path(url) else f"{url}/v1"


def _finish(env: Environment, run: RunOptions, model: QueuedModel) -> None:
    """Let answers end; another signal ends them at once."""
    try:
        if model.waiting and not run.quiet:
            env.say("finishing answers; Ctrl-C again ends them now")
        model.close(limit=_FINISH_SECONDS)
    except KeyboardInterrupt:
        model.close(finish=False)
        raise


class _Loading:
    """The model of a command, found here and loaded in the thread that is to compute."""

    def __init__(self, env: Environment, run: RunOptions) -> None:
        """Raises LoadError."""
        self._is_abandoned = False
        self._is_over = Event()
        label, run = labeled(run)
        found = found_model(env, run, on_progress=self._check)
        self._load: Callable[[], LocalModel] = found.load
        self.names = names_of(found.resolved.name, found.resolved.adapter, label)

    def queued(self, most_waiting: int, slots: int | None) -> QueuedModel:
        """Raises LoadError. A signal waits until loading has stopped, unless that takes long."""
        from ...serving.queued_model import QueuedModel

        try:
            return QueuedModel(self._loaded, most_waiting=most_waiting, slots=slots)
        except KeyboardInterrupt:
            self._is_abandoned = True
            self._is_over.wait(_LEAVE_SECONDS)
            raise

    def _loaded(self) -> LocalModel:
        try:
            return self._load()
        finally:
            self._is_over.set()

    def _check(self) -> None:
        if self._is_abandoned:
            raise ClosingError


def labeled(run: RunOptions) -> tuple[str | None, RunOptions]:
    """The name before "=" in ``--adapter NAME=FOLDER``, and the options without it."""
    label, sign, folder = (run.adapter or "").partition("=")
    if not sign or not folder or "/" in label or not label or os.path.exists(run.adapter or ""):
        return None, run
    return label, replace(run, adapter=folder)


def names_of(
    name: str, adapter: AdapterFile | None = None, label: str | None = None
) -> tuple[str, ...]:
    """What clients may call a model: as the user does, without folders, and as the hub does.

    One with an ``adapter`` has the adapter's ``label``, by default the last part of its name, alone
    and after "MODEL+".
    """
    from ...hub.catalog import alias_of, entry_of

    if adapter is not None:
        label = label or Path(adapter.name).expanduser().resolve().name
        base = name.removesuffix(f"+{adapter.name}")
        models = () if base == name else names_of(base)
        return (label, *(f"{each}+{label}" for each in models))
    own = Path(name).resolve().name if os.path.isdir(name) else name
    entry = entry_of(name)
    repo = name if entry is None else entry.repo
    found = (own, repo.rpartition("/")[2] if entry else own, repo if entry else own, alias_of(repo))
    return tuple(dict.fromkeys(each for each in found if each is not None))
