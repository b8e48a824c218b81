"""One question about many images: answers in the order of the images, while later ones run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ... import api
from ...conversations.image_batches import ImageFailed
from ...events import Finished, LoadProgress
from ...messages import Source
from ...options import GenerateOptions, MediaOptions
from ..environment import Environment
from ..output.consume import AnyEvent, Failed, Numbered
from ..output.progress import ProgressLine
from ..run.options import RunOptions
from ..run.runner import run_events

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ...engine.model import LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageQuestion:
    """What to ask about each image. ``opened`` makes a source of its name, or raises MediaError."""

    prompt: str
    options: GenerateOptions
    media: MediaOptions
    batch: int | None
    opened: Callable[[str], Source]


def describe_many(
    env: Environment, run: RunOptions, names: Sequence[str], question: ImageQuestion
) -> None:
    """Answer for each image, and continue after a bad one; exits with 5 if any failed."""

    def events(model: LoadedModel) -> Iterator[Numbered]:
        stream = api.stream_each(
            model,
            question.prompt,
            names,
            options=question.options,
            media=question.media,
            batch=question.batch,
            opened=lambda name: question.opened(str(name)),
        )
        for each in stream:
            yield each.image, Failed(each.error) if isinstance(each, ImageFailed) else each.event

    run_events(
        env,
        run,
        names,
        events,
        lambda: ImageProgress(env, len(names), quiet=run.quiet),
        several=True,
    )


class ImageProgress(ProgressLine):
    """How many images are done, how quickly, and how long the rest takes."""

    def __init__(self, env: Environment, total: int, *, quiet: bool) -> None:
        super().__init__(env, _columns, quiet=quiet)
        self._total = total
        self._done = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        super().__enter__()
        self._started = time.monotonic()
        if self.bar is not None:
            self.task = self.bar.add_task("", total=self._total, speed="")
        return self

    def update(self, number: int, event: AnyEvent | LoadProgress | Failed) -> None:
        if not isinstance(event, Finished | Failed):
            return
        self._done += 1
        if self.bar is not None and self.task is not None:
            speed = self._done / max(1e-9, time.monotonic() - self._started)
            self.bar.update(self.task, completed=self._done, speed=f"{speed:.2f} images/s")


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return (
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
