"""Run inputs through one model: load it once, answer each, continue after a bad one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import NoModelError
from ...events import Event
from ...media.near_names import existing
from ...media.sources import require
from ...messages import Source
from ..environment import Environment
from ..output.answers import InOrder, StreamedAnswer, WholeAnswers
from ..output.consume import Display, Numbered, Sink, consume, exit_if_failed, one_by_one
from ..output.download_progress import fetch
from ..output.numbers import size_text
from ..output.pictures import pictures_for
from ..output.progress import Spinner
from ..output.results import opened_output
from ..output.writer import AnswerWriter
from .options import RunOptions

if TYPE_CHECKING:
    from ...engine.model import LoadedModel
    from ...hub.resolved import ResolvedModel

_SMALLEST = "e2b"


def source_of(argument: str) -> Source:
    """A media argument; "-" is standard input, and a name may look like that of the file."""
    if argument == "-":
        return Source(name=argument)
    return Source(name=argument, path=existing(Path(argument)))


def load_model(env: Environment, run: RunOptions, needed: Sequence[Source] = ()) -> LoadedModel:
    """Load the model that the options name, or else the largest cached one that fits.

    Files that are ``needed`` for any answer are checked first, because loading a model takes time
    and downloading one takes longer. With --json a missing file is reported as a record among the
    answers, not here.
    """
    if not run.json:
        for source in needed:
            require(source)
    logging.basicConfig(
        level=logging.DEBUG if run.debug else logging.ERROR if run.quiet else logging.WARNING,
        format="%(message)s" if not run.debug else "%(name)s: %(message)s",
        stream=env.stderr,
    )
    logging.captureWarnings(True)
    if run.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ...api import load
    from ...engine.memory_limits import require_memory_for_model
    from ...machine.backend import require_backend

    model = _resolved(env, run)
    require_backend()
    require_memory_for_model(model, run.dtype)
    with Spinner(env, quiet=run.quiet) as spinner:
        return load(
            model,
            options=run.load_options,
            on_progress=lambda event: spinner.update(0, event),
        )


def _resolved(env: Environment, run: RunOptions) -> ResolvedModel:
    from ...hub.cache import largest_that_fits, resolve

    if not run.model and (found := largest_that_fits()) is not None:
        return found
    return resolve(run.model or _no_model(env, run))


def _no_model(env: Environment, run: RunOptions) -> str:
    """Handle that no model is named and none is cached: ask a person, or raise NoModelError."""
    from ...hub.cache import recommended_model
    from ...hub.catalog import published_models
    from ...hub.download import cache_folder

    alias = recommended_model()
    if env.can_ask:
        env.say("There is no Gemma 4 in the local cache.")
        if alias is not None and not run.offline:
            entry = published_models()[alias]
            env.say(
                f"{alias} suits this machine: {entry.repo}, {size_text(entry.bytes)} to download "
                f"into {cache_folder()}"
            )
            if env.confirm("Download it?"):
                fetch(env, alias, quiet=run.quiet)
                return alias
        if env.confirm("Continue with the built-in tiny model, a toy of shapes and short speech?"):
            return "tiny"
    raise NoModelError(f"g4 models pull {alias or _SMALLEST}")


def run_each(
    env: Environment,
    run: RunOptions,
    names: Sequence[str],
    answer: Callable[[LoadedModel, int], Iterator[Event]],
    *,
    needed: Sequence[Source] = (),
    markdown: bool = False,
    hide_thoughts: bool = False,
) -> None:
    """Answer one input after the other; exits with 5 if some of several failed.

    A single answer is streamed, with ``markdown`` rendered at a terminal; each of several is
    written whole after its name. No model is loaded if a ``needed`` file is missing.
    """

    def events(model: LoadedModel) -> Iterator[Numbered]:
        keep_going = len(names) > 1 or run.json
        return one_by_one(len(names), lambda number: answer(model, number), keep_going=keep_going)

    run_events(
        env,
        run,
        names,
        events,
        lambda: Spinner(env, quiet=run.quiet, hides_thoughts=hide_thoughts),
        several=len(names) > 1,
        needed=needed,
        markdown=markdown,
        hide_thoughts=hide_thoughts,
    )


def run_events(
    env: Environment,
    run: RunOptions,
    names: Sequence[str],
    events: Callable[[LoadedModel], Iterator[Numbered]],
    display: Callable[[], Display],
    *,
    several: bool,
    needed: Sequence[Source] = (),
    markdown: bool = False,
    hide_thoughts: bool = False,
) -> None:
    """Load the model and write the events of the inputs called ``names``."""
    pictures = pictures_for(env, run.thumbnails)
    model = load_model(env, run, needed)
    streams = not (several or run.json)
    with ExitStack() as stack:
        stream = stack.enter_context(opened_output(run.output, env.stdout))
        shown = stack.enter_context(display())
        writer = stack.enter_context(
            AnswerWriter(
                env,
                shown,
                stream if streams else None,
                quiet=run.quiet,
                markdown=markdown,
                hide_thoughts=hide_thoughts,
                pictures=pictures,
            )
        )
        sink: Sink
        if streams:
            sink = StreamedAnswer(writer)
        else:
            whole = WholeAnswers(
                env,
                writer,
                shown,
                stream,
                names,
                model=model.name,
                labeled=several,
                as_json=run.json,
                debug=run.debug,
            )
            sink = InOrder(whole)
        codes = consume(events(model), sink, shown)
    exit_if_failed(codes, several=several)
