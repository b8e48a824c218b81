"""Samples to token ids of which some are learned, exactly as a chat has them.

An answer is learned after the prompt that a chat would send for it. Where the next prompt of the
conversation begins with that prompt and the answer, both are one example: each token is then
computed once. That is not so where prompts leave out earlier thoughts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..conversations.open_media import open_message
from ..conversations.opened import OpenedMessage
from ..engine.local import LocalModel
from ..errors import (
    ContextLengthError,
    ConversationError,
    MediaError,
    PromptError,
    UnsupportedModalityError,
)
from ..events import Notice
from ..processing.inputs import MediaFeatures, ModelInputs
from ..processing.prompt import MediaSpan, answer_ids
from .samples import Fault, Sample


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
    conversation = sample.conversation
    opened: list[OpenedMessage] = []
    try:
        for message in conversation.messages:
            for step in open_message(model, message, conversation.media, before=opened):
                if isinstance(step, OpenedMessage):
                    opened.append(step)
                elif isinstance(step, Notice):
                    yield Notice(text=f"{sample.origin}: {step.text}")
        yield _prepared(model, sample, opened, longest)
    except UnsupportedModalityError:
        raise
    except ContextLengthError as exc:
        yield TooLong(origin=sample.origin, tokens=exc.tokens)
    except (MediaError, PromptError, ConversationError) as exc:
        problem = str(exc).removeprefix(f"{sample.origin}: ")
        yield Fault(origin=sample.origin, problem=problem)


def _prepared(
    model: LocalModel, sample: Sample, opened: Sequence[OpenedMessage], longest: int
) -> Prepared | TooLong | Fault:
    conversation = sample.conversation
    processor = model.processor
    messages = [each.message for each in opened]
    media = [each.prepared(processor, conversation.media.budget) for each in opened]
    cut = [notice for items in media for item in items for notice in item.notices]
    if cut:  # what is said in the rest would be learned as if it had been heard
        return Fault(origin=sample.origin, problem=cut[0].removeprefix(f"{sample.origin}: "))
    examples: list[Example] = []
    features: dict[str, MediaFeatures] = {}
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        inputs = processor.prepare_prompt(
            messages[:index],
            [item for items in media[:index] for item in items],
            think=conversation.think,
            tools=conversation.tools,
        )
        answer = answer_ids(
            messages[: index + 1], tokenizer=processor.tokenizer, think=conversation.think
        )
        features |= {each.digest: each for each in inputs.features}
        example = _example(sample, inputs, answer)
        if len(example.ids) > longest:
            return TooLong(origin=sample.origin, tokens=len(example.ids))
        if examples and _continues(example, examples[-1]):
            example = _joined(examples.pop(), example)
        examples.append(example)
    thoughts = sum(bool(each.thoughts) for each in messages) if not conversation.think else 0
    return Prepared(
        examples=tuple(examples), media=tuple(features.values()), unlearned_thoughts=thoughts
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
