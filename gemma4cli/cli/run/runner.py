"""Many inputs through one model: load once, answer each, go on after a bad one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

from ... import api
from ...errors import Gemma4Error, LoadError, NoModelError
from ...events import Event, Finished, TextDelta
from ...media.sources import require
from ...messages import Source
from ..output.confirm import can_ask, confirmed
from ..output.download_progress import fetch
from ..output.exit_codes import ExitCode, exit_code_of
from ..output.numbers import size_text
from ..output.pictures import Pictures, pictures_for
from ..output.render import Renderer
from ..output.results import failure, opened_output, record, write_json, write_text
from ..output.terminal import say, say_error
from ..output.video_record import VideoRecord
from ..settings.resolve import configured_model
from .options import RunOptions

if TYPE_CHECKING:
    from ...engine.model import LoadedModel

Answer = Callable[["LoadedModel", str], Iterator[Event]]
"""A model and an input's name to the events of its answer."""

Finish = Callable[[str, Finished, dict[str, Any]], str]
"""An input's name, its answer and its JSON record, which may be added to, to the text to print."""


_SMALLEST = "e2b"


def source_of(argument: str) -> Source:
    """A media argument; "-" is standard input."""
    return Source(name="-") if argument == "-" else Source.of(argument)


def load_model(run: RunOptions, needed: Sequence[Source] = ()) -> LoadedModel:
    """Load the model that the options, or else the settings, name.

    Without the files that are ``needed`` there will be no answer: they are looked for first, since
    loading a model takes its time, and fetching one more. With --json such a failure is a record
    where the answers are, and not found here.
    """
    if not run.json:
        for source in needed:
            require(source)
    logging.basicConfig(
        level=logging.DEBUG if run.debug else logging.ERROR if run.quiet else logging.WARNING,
        format="%(message)s" if not run.debug else "%(name)s: %(message)s",
    )
    logging.captureWarnings(True)
    if run.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    name = run.model or configured_model() or api.default_model() or _no_model(run)
    api.require_memory(name, run.dtype)
    with Renderer(None, quiet=run.quiet) as renderer:
        return api.load(name, options=run.load_options, on_progress=renderer.show)


def _no_model(run: RunOptions) -> str:
    """Nothing was named and nothing is cached: ask a person, tell a program."""
    alias = api.recommended_model()
    if can_ask():
        say("No Gemma 4 is in the local cache.")
        if alias is not None and not run.offline:
            entry = api.published_models()[alias]
            say(
                f"{alias} suits this machine: {entry.repo}, {size_text(entry.bytes)} to download "
                f"into {api.cache_folder()}"
            )
            if confirmed("Fetch it?"):
                fetch(alias, quiet=run.quiet)
                return alias
        if confirmed("Go on with the built-in tiny model, a toy of shapes and short speech?"):
            return "tiny"
    raise NoModelError(f"g4 models pull {alias or _SMALLEST}")


def run_each(
    run: RunOptions,
    inputs: Sequence[str],
    answer: Answer,
    finish: Finish | None = None,
    *,
    shaped: bool = False,
    needed: Sequence[Source] = (),
) -> None:
    """Answer every input and write the results; exits with 5 if some of several failed.

    A single answer streams as it comes; of several, each is printed whole, behind its name. What
    an interrupt leaves is printed too, unless ``finish`` gives it a shape that needs the whole.
    Nothing is loaded if a file that is ``needed`` for all answers is missing.
    """
    pictures = pictures_for(run.thumbnails)
    model = load_model(run, needed)
    several = len(inputs) > 1
    codes: list[ExitCode] = []
    with opened_output(run.output) as stream:
        for given in inputs:
            try:
                _run_one(
                    run,
                    model,
                    given,
                    stream,
                    answer,
                    finish,
                    several=several,
                    shaped=shaped,
                    pictures=pictures,
                )
            except LoadError:
                raise
            except Gemma4Error as error:
                if not several and not run.json:
                    raise
                codes.append(exit_code_of(error))
                say_error(error, debug=run.debug)
                if run.json:
                    write_json(stream, failure(given, error))
    if codes:
        raise typer.Exit(ExitCode.SOME_FAILED if several else codes[0])


def _run_one(
    run: RunOptions,
    model: LoadedModel,
    given: str,
    stream: TextIO,
    answer: Answer,
    finish: Finish | None,
    *,
    several: bool,
    shaped: bool,
    pictures: Pictures | None,
) -> None:
    streams = not (run.json or several or finish)
    finished: Finished | None = None
    video = VideoRecord()
    said: list[str] = []
    try:
        shown = stream if streams else None
        with Renderer(shown, quiet=run.quiet, pictures=pictures) as renderer:
            for event in answer(model, given):
                renderer.show(event)
                if isinstance(event, TextDelta):
                    said.append(event.text)
                elif isinstance(event, Finished):
                    finished = event
                else:
                    video.see(event)
    except KeyboardInterrupt:
        if said and not streams and not run.json and not shaped:
            write_text(stream, _labelled(given, "".join(said), several=several))
        raise
    assert finished is not None, "a run ends with Finished"
    result = record(given, model.name, finished)
    result |= video.fields()
    text = finish(given, finished, result) if finish else finished.text
    if video.segments:
        text = "".join(said)
    if run.json:
        write_json(stream, result)
    elif not streams:
        write_text(stream, _labelled(given, text, several=several))


def _labelled(given: str, text: str, *, several: bool) -> str:
    return f"{given}: {text}" if several else text
