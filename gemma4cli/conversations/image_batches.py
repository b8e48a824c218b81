"""One question about many images, which go through the model in batches.

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import Gemma4Error, LoadError, OptionError, unexpected
from ..events import Event, Finished, Notice, PicturesDecoded
from ..messages import Message, Part
from ..options import SOFT_TOKEN_BUDGETS, GenerateOptions, MediaOptions

if TYPE_CHECKING:
    from ..decoded import Image
    from ..engine.answering import AnsweringModel, Prompt
    from ..processing.inputs import ModelInputs


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEvent:
    """An event of the answer about image number ``image``, counted from 0."""

    image: int
    event: Event


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFailed:
    """There is no answer about image number ``image``; the other images are not affected."""

    image: int
    error: Gemma4Error


def answer_each(
    model: AnsweringModel,
    numbers: Sequence[int],
    content: Callable[[int], tuple[Part, ...]],
    *,
    options: GenerateOptions,
    media: MediaOptions,
    batch: int | None,
    positions: Sequence[int] | None = None,
) -> Iterator[ImageEvent | ImageFailed]:
    """As ``api.stream_each``; ``content(number)`` is the message about an image."""
    from ..engine.answering import Prompt
    from ..engine.seeds import seed_of
    from .ahead import done_ahead

    if batch is not None and batch < 1:
        raise OptionError(f"the batch must be 1 or more, not {batch}")
    if batch is None:
        batch = _default_batch(model, options, media)
    if options.schema is not None:  # a constraint applies to one answer at a time
        model.check_schema(options)  # the same error for every image
        batch = 1

    def own(number: int) -> GenerateOptions:
        position = number if positions is None else positions[number]
        return replace(options, seed=seed_of(options.seed, position))

    if batch == 1:
        for number in numbers:
            try:
                yield from _answer_alone(model, number, content(number), own(number), media)
            except LoadError:
                raise
            except Exception as error:  # noqa: BLE001 - one odd image does not end the others
                yield ImageFailed(image=number, error=unexpected(error))
        return

    def prepared(number: int) -> _Prepared:
        return _prepared(model, content(number), media, think=options.think)

    threads = min(_MOST_THREADS, len(numbers), os.cpu_count() or 1)
    waiting: list[_Waiting] = []
    with closing(done_ahead(prepared, numbers, threads=threads, most=2 * threads)) as ready:
        for number, found in ready:
            try:
                if isinstance(found, Exception):
                    raise found
                for event in found.events:
                    yield ImageEvent(image=number, event=event)
                prompt = Prompt(inputs=found.inputs, options=own(number))
                model.check_prompt(prompt.inputs, prompt.options)
            except LoadError:
                raise
            except Exception as error:  # noqa: BLE001 - one odd image does not end the others
                yield ImageFailed(image=number, error=unexpected(error))
                continue
            for notice in found.inputs.notices:
                yield ImageEvent(image=number, event=Notice(text=notice))
            waiting.append(_Waiting(number, prompt))
            if len(waiting) == batch:
                yield from _answer(model, waiting)
                waiting.clear()
        yield from _answer(model, waiting)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """An image that waits for its batch."""

    image: int
    prompt: Prompt


_MOST_THREADS = 4
"""That decode pictures. One of 12 megapixels takes a quarter of a second and 100 MB meanwhile."""

_LONGEST_QUESTION = 256
"""Tokens of a prompt without its image, as assumed by the memory estimate."""


def _default_batch(model: AnsweringModel, options: GenerateOptions, media: MediaOptions) -> int:
    most = max(SOFT_TOKEN_BUDGETS) if media.budget == "auto" else media.budget
    soft_tokens = most or model.processor.config.vision.image_budget
    return model.batch_size(soft_tokens + _LONGEST_QUESTION + options.max_tokens)


def _answer_alone(
    model: AnsweringModel,
    number: int,
    content: tuple[Part, ...],
    options: GenerateOptions,
    media: MediaOptions,
) -> Iterator[ImageEvent]:
    from .chat import Chat

    for event in Chat(model, media=media).send(content, options):
        yield ImageEvent(image=number, event=event)


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """An image as the model takes it, and the events of its decoding."""

    inputs: ModelInputs
    events: Sequence[Event]


def _prepared(
    model: AnsweringModel, content: tuple[Part, ...], media: MediaOptions, *, think: bool
) -> _Prepared:
    """Open an image and make model inputs of it; its pixels are not kept."""
    from .open_media import open_message, prepare
    from .opened import OpenedMessage

    events: list[Event] = []
    for step in open_message(model, Message(role="user", content=content), media):
        if isinstance(step, OpenedMessage):
            inputs = prepare(model, [step], media, think=think)
            seen = {item.name: item for item in step.images}
            return _Prepared(inputs, [_small(event, seen) for event in events])
        events.append(step)
    raise AssertionError("the message comes last")


def _small(event: Event, seen: Mapping[str, Image]) -> Event:
    """The event with pictures as the model sees them: several wait, and a photo takes 36 MB."""
    if not isinstance(event, PicturesDecoded):
        return event
    return replace(event, pictures=tuple(seen.get(event.source, each) for each in event.pictures))


def _answer(
    model: AnsweringModel, waiting: Sequence[_Waiting]
) -> Iterator[ImageEvent | ImageFailed]:
    """The answers of a batch; if it fails, each unfinished one is generated alone."""
    finished: set[int] = set()
    try:
        for row, event in model.stream_batch([each.prompt for each in waiting]):
            if isinstance(event, Finished):
                finished.add(row)
            yield ImageEvent(image=waiting[row].image, event=event)
    except LoadError:
        raise
    except Gemma4Error as error:
        if len(waiting) == 1:
            yield ImageFailed(image=waiting[0].image, error=error)
            return
        for row, each in enumerate(waiting):
            if row not in finished:
                yield from _answer(model, [each])
