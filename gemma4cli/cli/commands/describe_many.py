"""Many images with one question about each: answers in the order of the images, on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TextIO

import typer

from ... import api
from ...conversations.image_batches import ImageEvent, ImageFailed
from ...errors import Gemma4Error
from ...events import Finished, Notice, PicturesDecoded, TextDelta, ThoughtDelta
from ...messages import Source
from ...options import GenerateOptions, MediaOptions
from ..output.exit_codes import ExitCode
from ..output.pictures import Pictures, pictures_for
from ..output.progress import ProgressLine
from ..output.render import Renderer
from ..output.results import add_budgets, failure, opened_output, record, write_json, write_text
from ..output.terminal import say_error
from ..run.options import RunOptions
from ..run.runner import load_model

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeEach:
    """What was asked for. ``opened`` makes a source of an image's name, or raises MediaError."""

    run: RunOptions
    prompt: str
    options: GenerateOptions
    media: MediaOptions
    batch: int | None
    opened: Callable[[str], Source]

    def images(self, names: Sequence[str]) -> None:
        """Answer for each image, and go on after a bad one; exits with 5 if any failed."""
        pictures = pictures_for(self.run.thumbnails)
        model = load_model(self.run)
        with (
            opened_output(self.run.output) as stream,
            ImageProgress(len(names), quiet=self.run.quiet) as progress,
        ):
            shown = _Shown(self.run, model.name, names, stream, progress, pictures)
            try:
                for event in api.stream_each(
                    model,
                    self.prompt,
                    names,
                    options=self.options,
                    media=self.media,
                    batch=self.batch,
                    opened=lambda name: self.opened(str(name)),
                ):
                    shown.take(event)
            except KeyboardInterrupt:
                shown.break_off()
                raise
        if shown.failed:
            raise typer.Exit(ExitCode.SOME_FAILED)


@dataclass(slots=True)
class _Pending:
    """What is there of an image that has not been shown yet."""

    said: list[str] = field(default_factory=list)
    asides: list[PicturesDecoded | Notice] = field(default_factory=list)
    finished: Finished | None = None
    budget: int | None = None
    error: Gemma4Error | None = None


class _Shown:
    """Shows each image as soon as it and all before it are done."""

    def __init__(
        self,
        run: RunOptions,
        model: str,
        names: Sequence[str],
        stream: TextIO,
        progress: ImageProgress,
        pictures: Pictures | None,
    ) -> None:
        self.failed = False
        self._run = run
        self._model = model
        self._names = names
        self._stream = stream
        self._progress = progress
        self._pictures = pictures
        self._pending: dict[int, _Pending] = {}
        self._next = 0

    def take(self, event: ImageEvent | ImageFailed) -> None:
        """Take note of an event, and show what it completes."""
        pending = self._pending.setdefault(event.image, _Pending())
        if isinstance(event, ImageFailed):
            pending.error = event.error
        else:
            match event.event:
                case TextDelta(text=text):
                    pending.said.append(text)
                case PicturesDecoded() if self._pictures is None:
                    pass
                case PicturesDecoded() | Notice():
                    pending.asides.append(event.event)
                case Finished():
                    pending.finished, pending.budget = event.event, event.budget
        if pending.finished or pending.error:
            self._progress.done()
        while (first := self._pending.get(self._next)) and (first.finished or first.error):
            self._show(self._next, self._pending.pop(self._next))
            self._next += 1

    def break_off(self) -> None:
        """Show what there is of the images that are not done; half an object is none."""
        for number, pending in sorted(self._pending.items()):
            if pending.finished or pending.error:
                self._show(number, pending)
            elif pending.said and not self._run.json:
                with self._progress.aside():
                    self._write(number, "".join(pending.said))

    def _show(self, number: int, pending: _Pending) -> None:
        with self._progress.aside():
            with Renderer(None, quiet=self._run.quiet, pictures=self._pictures) as renderer:
                for aside in pending.asides:
                    renderer.show(aside)
                if pending.finished is not None:
                    if pending.finished.thoughts:
                        renderer.show(ThoughtDelta(text=pending.finished.thoughts))
                    renderer.show(pending.finished)
            if pending.error is not None:
                self._fail(number, pending.error)
            elif pending.finished is not None:
                self._answer(number, pending.finished, pending.budget)

    def _answer(self, number: int, finished: Finished, budget: int | None) -> None:
        if not self._run.json:
            self._write(number, finished.text)
            return
        result = record(self._names[number], self._model, finished)
        add_budgets(result, () if budget is None else (budget,))
        write_json(self._stream, result)

    def _fail(self, number: int, error: Gemma4Error) -> None:
        self.failed = True
        try:
            raise error
        except Gemma4Error:  # so that --debug shows where it came from
            say_error(error, debug=self._run.debug)
        if self._run.json:
            write_json(self._stream, failure(self._names[number], error))

    def _write(self, number: int, text: str) -> None:
        write_text(self._stream, f"{self._names[number]}: {text}")


class ImageProgress(ProgressLine):
    """How many images are done, how quickly, and how long the rest takes."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        super().__init__(_columns, quiet=quiet)
        self._total = total
        self._done = 0
        self._begun = 0.0

    def __enter__(self) -> Self:
        super().__enter__()
        self._begun = time.monotonic()
        if self.bar is not None:
            self.task = self.bar.add_task("", total=self._total, speed="")
        return self

    def done(self) -> None:
        """One more image has its answer, or none."""
        self._done += 1
        if self.bar is not None and self.task is not None:
            speed = self._done / max(1e-9, time.monotonic() - self._begun)
            self.bar.update(self.task, completed=self._done, speed=f"{speed:.2f} images/s")


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return (
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
