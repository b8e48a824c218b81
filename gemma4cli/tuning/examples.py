"""Samples to token ids of which some are learned, exactly as a chat has them.

An answer is learned after the prompt that a chat would send for it. Where the next prompt of the
conversation begins with that prompt and the answer, both are one example: each token is then
computed once. That is not so where prompts leave out earlier thoughts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..conversations.open_media import open_message
from ..conversations.opened import OpenedMessage
from ..engine.answering import Prompt
from ..engine.local import LocalModel
from ..errors import (
    ContextLengthError,
    ConversationError,
    MediaError,
    PromptError,
    UnsupportedModalityError,
)
from ..events import Notice
from ..messages import Message
from ..options import GenerateOptions
from ..processing.inputs import MediaFeatures, ModelInputs
from ..processing.processor import PreparedMedium
from ..processing.prompt import MediaSpan, answer_ids
from .samples import Fault, Sample

_HOW_TO_CUT = "put a transcript with times beside it (.srt, .vtt, or .json of whisper or g4)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """A prompt with its answers.

    Attributes:
        origin: The sample's.
        ids: Prompt and answers.
        learned: Start and end of each answer in ``ids``; its end token is the last of it.
        spans: The placeholders of each medium.
        digests: What fills the placeholders of ``spans``, by the digests of media.
        repeats: How often it is seen in a round.
    """

    origin: str
    ids: tuple[int, ...]
    learned: tuple[tuple[int, int], ...]
    spans: tuple[MediaSpan, ...]
    digests: tuple[str, ...]
    repeats: int = 1

    @property
    def targets(self) -> int:
        """How many tokens are learned."""
        return sum(end - start for start, end in self.learned)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """A sample's examples, and the media that they contain."""

    examples: tuple[Example, ...]
    media: tuple[MediaFeatures, ...]
    unlearned_thoughts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TooLong:
    """A sample with an example of more tokens than are allowed."""

    origin: str
    tokens: int


def prepare_sample(
    model: LocalModel, sample: Sample, longest: int
) -> Iterator[Notice | Fault | TooLong | Prepared]:
    """Decode a sample's media and encode its texts: notices, then what became of it.

    Raises UnsupportedModalityError, since no other sample of the kind can be learned either.
    """
    for step in _opened(model, sample):
        yield step if not isinstance(step, _Opened) else _prepared(model, sample, step, longest)


def prompt_of(
    model: LocalModel, sample: Sample, longest: int
) -> Iterator[Notice | Fault | TooLong | Prompt]:
    """As ``prepare_sample``, for the greedy answer to a sample that ends with a question."""
    for step in _opened(model, sample):
        if not isinstance(step, _Opened):
            yield step
            continue
        conversation = sample.conversation
        inputs = _inputs(model, sample, step, len(step.messages))
        options = GenerateOptions(
            temperature=0.0,
            think=conversation.think,
            tools=json.dumps(conversation.tools) if conversation.tools else None,
        )
        is_long = len(inputs.ids) > longest
        yield (
            TooLong(origin=sample.origin, tokens=len(inputs.ids))
            if is_long
            else Prompt(inputs=inputs, options=options)
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Opened:
    """A sample's messages, and the media of each as the model takes them."""

    messages: Sequence[Message]
    media: Sequence[tuple[PreparedMedium, ...]]


def _opened(model: LocalModel, sample: Sample) -> Iterator[Notice | Fault | TooLong | _Opened]:
    conversation = sample.conversation
    opened: list[OpenedMessage] = []
    try:
        for message in conversation.messages:
            for step in open_message(model, message, conversation.media, before=opened):
                if isinstance(step, OpenedMessage):
                    opened.append(step)
                elif isinstance(step, Notice):
                    yield Notice(text=f"{sample.origin}: {step.text}")
        media = [each.prepared(model.processor, conversation.media.budget) for each in opened]
        cut = [notice for items in media for item in items for notice in item.notices]
        if cut:  # what is said in the rest would be learned as if it had been heard
            problem = cut[0].removeprefix(f"{sample.origin}: ")
            yield Fault(origin=sample.origin, problem=f"{problem}: {_HOW_TO_CUT}")
        else:
            yield _Opened(messages=[each.message for each in opened], media=media)
    except UnsupportedModalityError:
        raise
    except ContextLengthError as exc:
        yield TooLong(origin=sample.origin, tokens=exc.tokens)
    except (MediaError, PromptError, ConversationError) as exc:
        problem = str(exc).removeprefix(f"{sample.origin}: ")
        yield Fault(origin=sample.origin, problem=problem)


def _inputs(model: LocalModel, sample: Sample, opened: _Opened, count: int) -> ModelInputs:
    """The prompt that a chat sends after the first ``count`` messages."""
    return model.processor.prepare_prompt(
        opened.messages[:count],
        [item for items in opened.media[:count] for item in items],
        think=sample.conversation.think,
        tools=sample.conversation.tools,
    )


def _prepared(
    model: LocalModel, sample: Sample, opened: _Opened, longest: int
) -> Prepared | TooLong:
    think = sample.conversation.think
    messages = opened.messages
    examples: list[Example] = []
    features: dict[str, MediaFeatures] = {}
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        inputs = _inputs(model, sample, opened, index)
        answer = answer_ids(messages[: index + 1], tokenizer=model.processor.tokenizer, think=think)
        features |= {each.digest: each for each in inputs.features}
        example = _example(sample, inputs, answer)
        if len(example.ids) > longest:
            return TooLong(origin=sample.origin, tokens=len(example.ids))
        if examples and _continues(example, examples[-1]):
            example = _joined(examples.pop(), example)
        examples.append(example)
    return Prepared(
        examples=tuple(examples),
        media=tuple(features.values()),
        unlearned_thoughts=0 if think else sum(bool(each.thoughts) for each in messages),
    )


def _example(sample: Sample, inputs: ModelInputs, answer: Sequence[int]) -> Example:
    start = len(inputs.ids)
    return Example(
        origin=sample.origin,
        ids=(*inputs.ids, *answer),
        learned=((start, start + len(answer)),),
        spans=inputs.spans,
        digests=tuple(each.digest for each in inputs.features),
        repeats=sample.repeats,
    )


def _continues(later: Example, earlier: Example) -> bool:
    """Whether the later prompt begins with the earlier one and its answer."""
    return later.ids[: len(earlier.ids)] == earlier.ids and len(earlier.ids) <= later.learned[0][0]


def _joined(earlier: Example, later: Example) -> Example:
    return Example(
        origin=later.origin,
        ids=later.ids,
        learned=(*earlier.learned, *later.learned),
        spans=later.spans,
        digests=later.digests,
        repeats=later.repeats,
    )


def fingerprint(examples: Sequence[Example]) -> str:
    """What tells these examples from others, in this order."""
    state = hashlib.blake2b(digest_size=16)
    for each in examples:
        state.update(repr((each.ids, each.learned, each.digests, each.repeats)).encode())
    return state.hexdigest()
