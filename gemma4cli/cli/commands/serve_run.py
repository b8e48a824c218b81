"""What ``g4 serve`` does from the first to the last request."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING

from ...errors import ClosingError
from ...lookups import unix_path
from ..environment import Environment
from ..escapes import one_line
from ..run.options import RunOptions
from ..run.runner import found_model
from .serve_names import labeled, names_of_all

if TYPE_CHECKING:
    from ...engine.local import LocalModel
    from ...server.served import ServerOptions
    from ...serving.queue import Queue

_FINISH_SECONDS = 20.0
"""In which answers may end that have begun when the server is stopped."""
_LEAVE_SECONDS = 2.0


def run_server(
    env: Environment,
    run: RunOptions,
    options: ServerOptions,
    *,
    adapters: Sequence[str],
    host: str,
    port: int,
    slots: int | None,
) -> None:
    """Listen, load the model, and answer until a signal comes, which is raised again.

    ``adapters`` are served too, each by its name or as NAME=FOLDER.
    """
    from ...machine.heap import share_one_heap
    from ...server.app import make_app
    from ...server.listening import HttpThread, bound_socket, url_of
    from ...server.served import Served
    from ...serving.queued_model import QueuedModel

    def log(line: str) -> None:
        if not run.quiet:
            env.say(one_line(line))

    # At once, as loading takes long and the port may be taken.
    with closing(bound_socket(host, port)) as bound:
        share_one_heap()  # each request has a thread, and none of them the same heap otherwise
        load = _Loading(env, run, adapters)
        served = Served(
            options, *load.names, on_error=lambda error: env.say_error(error, debug=run.debug)
        )
        with HttpThread(make_app(served, log), bound) as http:
            queue = load.queue(options.most_requests, slots)
            served.ready(*(QueuedModel(queue, place) for place in range(len(queue.models))))
            try:
                if not run.quiet:
                    place = _shown(url_of(bound))
                    env.say(f"{_listed(served.names)} at {place} (Ctrl-C ends it)")
                http.wait()
            finally:
                served.closing()
                http.stop()
                _finish(env, run, queue)


def _listed(names: Sequence[Sequence[str]]) -> str:
    """What is served, by the first name of each."""
    *others, last = (each[0] for each in names)
    return f"{', '.join(others)} and {last} are" if others else f"{last} is"


def _shown(url: str) -> str:
    """What clients of OpenAI's API are given; a unix socket has no form that they all know."""
    return url if unix_path(url) else f"{url}/v1"


def _finish(env: Environment, run: RunOptions, queue: Queue) -> None:
    """Let answers end; another signal ends them at once."""
    try:
        if queue.waiting and not run.quiet:
            env.say("finishing answers; Ctrl-C again ends them now")
        queue.close(limit=_FINISH_SECONDS)
    except KeyboardInterrupt:
        queue.close(finish=False)
        raise


class _Loading:
    """The model of a command, found here and loaded in the thread that is to compute."""

    def __init__(self, env: Environment, run: RunOptions, adapters: Sequence[str]) -> None:
        """Raises LoadError, and OptionError for names that two models would have."""
        self._is_abandoned = False
        self._is_over = Event()
        given = [labeled(each) for each in adapters]
        self._found = found_model(
            env, run, adapters=[name for _, name in given], on_progress=self._check
        )
        # Of a model that was named with its adapter, that is the only one, without a label.
        labels = [label for label, _ in given] or [None] * len(self._found.adapters)
        self.names = names_of_all(self._found.resolved.name, self._found.adapters, labels)

    def queue(self, most_waiting: int, slots: int | None) -> Queue:
        """Raises LoadError. A signal waits until loading has stopped, unless that takes long."""
        from ...serving.queue import Queue

        try:
            return Queue(self._loaded, most_waiting=most_waiting, slots=slots)
        except KeyboardInterrupt:
            self._is_abandoned = True
            self._is_over.wait(_LEAVE_SECONDS)
            raise

    def _loaded(self) -> Sequence[LocalModel]:
        try:
            return self._found.load_each()
        finally:
            self._is_over.set()

    def _check(self) -> None:
        if self._is_abandoned:
            raise ClosingError
