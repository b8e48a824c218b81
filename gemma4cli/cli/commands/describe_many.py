"""One question about many images: answers in the order of the images, while later ones run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from ... import api
from ...conversations.image_batches import ImageFailed
from ...events import Finished, LoadProgress, Notice
from ...messages import Source
from ...options import GenerateOptions, MediaOptions
from ...times import clock
from ..answers.run import run_events
from ..answers.targets import AnswerRun
from ..environment import Environment
from ..output.consume import AnyEvent, Failed, Numbered
from ..output.progress import ProgressLine
from ..run.names import absolute
from ..run.shards import Shard

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ...engine.answering import AnsweringModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageQuestion:
    """What to ask about each image. ``opened`` fetches what is an address, or raises MediaError.

    ``shard`` is the part of all images that is asked about, ``positions`` where these are in it.
    """

    prompt: str
    options: GenerateOptions
    media: MediaOptions
    batch: int | None
    opened: Callable[[Source], Source]
    shard: Shard | None = None
    positions: Sequence[int] | None = None


def describe_many(answers: AnswerRun, question: ImageQuestion, arguments: Sequence[str]) -> None:
    """Answer for each image of the arguments, and continue after a bad one."""

    def events(model: AnsweringModel, skip: AbstractSet[int]) -> Iterator[Numbered]:
        stream = api.stream_each(
            model,
            question.prompt,
            [each.origin or each.given for each in answers.inputs],
            options=question.options,
            media=question.media,
            batch=question.batch,
            opened=lambda source: question.opened(Source.of(source)),
            skip=skip,
            positions=question.positions,
        )
        is_expecting = _expects_guesses(answers, question)
        for each in stream:
            event = Failed(each.error) if isinstance(each, ImageFailed) else each.event
            if is_expecting and isinstance(event, Finished):
                is_expecting = False
                if not event.usage.guessed_tokens:
                    yield each.image, Notice(text=_NOT_GUESSED)
            yield each.image, event

    def display(known: int) -> ImageProgress:
        total = len(answers.names)
        return ImageProgress(answers.env, total, known=known, quiet=answers.run.quiet)

    run_events(replace(answers, question=_facts(question, arguments)), events, display)


_NOT_GUESSED = "images that are answered in a batch go without the drafter; --batch 1 uses it"


def _expects_guesses(answers: AnswerRun, question: ImageQuestion) -> bool:
    """Whether a drafter was named, and images may be answered in a batch."""
    named = answers.run.draft not in ("auto", "none")
    return named and question.batch != 1 and question.options.schema is None


def _facts(question: ImageQuestion, arguments: Sequence[str]) -> Mapping[str, object]:
    """What the answers depend on besides model and images: the batch size is left out."""
    shard = {} if question.shard is None else {"shard": str(question.shard)}
    return {
        "command": "describe",
        "arguments": [absolute(each) for each in arguments],
        **shard,
        "prompt": question.prompt,
        "options": question.options.facts,
        "media": asdict(question.media),
    }


class ImageProgress(ProgressLine):
    """How many images are done, how quickly, and how long the rest takes.

    ``known`` were done by an earlier run.
    """

    def __init__(self, env: Environment, total: int, *, quiet: bool, known: int = 0) -> None:
        super().__init__(env, _columns, quiet=quiet)
        self._total = total
        self._known = known
        self._done = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        super().__enter__()
        self._started = time.monotonic()
        if self.bar is not None:
            self.task = self.bar.add_task("", total=self._total, completed=self._known, speed="")
        return self

    def update(self, number: int, event: AnyEvent | LoadProgress | Failed) -> None:
        if not isinstance(event, Finished | Failed):
            return
        self._done += 1
        speed = self._done / max(1e-9, time.monotonic() - self._started)
        completed = self._known + self._done
        self.log(
            lambda: (
                f"{completed:,} of {self._total:,} images, {speed:.2f} images/s, "
                f"{clock((self._total - completed) / speed)} left"
            )
        )
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=completed, speed=f"{speed:.2f} images/s")


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return (
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
