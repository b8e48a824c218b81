"""One question about many images, which go through the model in batches.

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import Gemma4Error, LoadError, OptionError, unexpected
from ..events import Event, Finished, Notice
from ..messages import Message, Part
from ..options import SOFT_TOKEN_BUDGETS, GenerateOptions, MediaOptions

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel, Prompt


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
    from ..engine.seeds import seed_of

    if batch is not None and batch < 1:
        raise OptionError(f"the batch must be 1 or more, not {batch}")
    if batch is None:
        batch = _default_batch(model, options, media)
    if options.schema is not None:  # a constraint applies to one answer at a time
        model.check_schema(options)  # the same error for every image
        batch = 1
    waiting: list[_Waiting] = []
    for number in numbers:
        position = number if positions is None else positions[number]
        own = replace(options, seed=seed_of(options.seed, position))
        try:
            if batch == 1:
                yield from _answer_alone(model, number, content(number), own, media)
                continue
            for step in _prepare(model, number, content(number), own, media):
                if isinstance(step, _Waiting):
                    waiting.append(step)
                else:
                    yield step
        except LoadError:
            raise
        except Exception as error:  # noqa: BLE001 - one odd image does not end the others
            yield ImageFailed(image=number, error=unexpected(error))
        if len(waiting) == batch:
            yield from _answer(model, waiting)
            waiting.clear()
    yield from _answer(model, waiting)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """An image that waits for its batch."""

    image: int
    prompt: Prompt


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


def _prepare(
    model: AnsweringModel,
    number: int,
    content: tuple[Part, ...],
    options: GenerateOptions,
    media: MediaOptions,
) -> Iterator[ImageEvent | _Waiting]:
    """Open an image and make model inputs of it; its pixels are not kept."""
    from ..engine.answering import Prompt
    from .open_media import open_message, prepare
    from .opened import OpenedMessage

    for step in open_message(model, Message(role="user", content=content), media):
        if not isinstance(step, OpenedMessage):
            yield ImageEvent(image=number, event=step)
            continue
        inputs = prepare(model, [step], media, think=options.think)
        model.check_prompt(inputs, options)
        for notice in inputs.notices:
            yield ImageEvent(image=number, event=Notice(text=notice))
        yield _Waiting(number, Prompt(inputs=inputs, options=options))


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
