"""Conversations with their answers to token ids, by the prompt builder that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemma4cli.messages import AudioPart, ImagePart, Message, Source, TextPart, VideoPart
from gemma4cli.processing.prompt import (
    AudioSlot,
    ImageSlot,
    MediaSpan,
    PromptFlavour,
    Slot,
    VideoSlot,
    build_prompt,
)
from gemma4cli.processing.tokenizer import Tokenizer

from ..pictures.description import Thing

_UNNAMED = Source(name="training")


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What a user says and what is to be answered.

    ``parts`` are texts and media in their order; media are the soft tokens that they will have.
    ``thought`` stands before the answer in a conversation that thinks. ``about`` are the things of
    the latest picture that a short answer tells of.
    """

    parts: tuple[str | Slot, ...]
    answer: str
    thought: str | None = None
    about: tuple[Thing, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Token ids of a whole conversation.

    ``answers`` are ranges of positions whose tokens are to be learnt: each answer and the control
    token that ends it. ``spans`` are the places of the media's soft tokens, in order.
    """

    ids: tuple[int, ...]
    answers: tuple[range, ...]
    spans: tuple[MediaSpan, ...]


def encode(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    flavour: PromptFlavour,
    *,
    system: str | None = None,
) -> Encoded:
    """The ids of a conversation. With a thought it has one turn: later ones would not show it."""
    think = any(turn.thought is not None for turn in turns)
    messages = [Message(role="system", content=system)] if system else []
    slots: list[Slot] = []
    answers: list[range] = []
    for turn in turns:
        messages.append(Message(role="user", content=tuple(map(_part, turn.parts))))
        slots += [part for part in turn.parts if not isinstance(part, str)]
        prompt = build_prompt(messages, slots, tokenizer=tokenizer, flavour=flavour, think=think)
        answer = _answer_ids(turn, tokenizer)
        answers.append(range(len(prompt.ids), len(prompt.ids) + len(answer)))
        messages.append(Message(role="assistant", content=turn.answer))
    return Encoded(ids=(*prompt.ids, *answer), answers=tuple(answers), spans=prompt.spans)


def _part(part: str | Slot) -> TextPart | ImagePart | AudioPart | VideoPart:
    match part:
        case str():
            return TextPart(text=part)
        case ImageSlot():
            return ImagePart(source=_UNNAMED)
        case AudioSlot():
            return AudioPart(source=_UNNAMED)
        case VideoSlot():
            return VideoPart(source=_UNNAMED)


def _answer_ids(turn: Turn, tokenizer: Tokenizer) -> list[int]:
    ids: list[int] = []
    if turn.thought is not None:
        ids.append(tokenizer.control_id("<|channel>"))
        ids += tokenizer.encode(f"thought\n{turn.thought}")
        ids.append(tokenizer.control_id("<channel|>"))
    return [*ids, *tokenizer.encode(turn.answer), tokenizer.control_id("<turn|>")]
