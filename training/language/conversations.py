"""Conversations that the language model learns from, and the parts that many of them have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemma4cli import prompts
from gemma4cli.processing.prompt import AudioSlot, ImageSlot

from ..choosing import one
from ..pictures.features import Shown
from ..pictures.questions import Question
from ..speech.audio_features import Heard
from . import small_talk
from .dialogues import Turn
from .sources import Clips, Pictures

_SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a friendly assistant. Answer in one sentence.",
    "Be precise.",
)
_DESCRIBE = (
    "What is in this image?", "What do you see?", "What does the image show?", "What is this?",
    "Describe the picture.", "Describe the image.", "What is in the picture?",
    "Describe this picture.", "Caption this image.", "describe",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Turns, and their media in order: pictures and sounds."""

    turns: tuple[Turn, ...]
    pictures: tuple[Shown, ...] = ()
    sounds: tuple[Heard, ...] = ()
    system: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    clips: Clips
    pictures: Pictures


def image(shown: Shown) -> ImageSlot:
    return ImageSlot(soft_tokens=len(shown.tokens))


def audio(clip: Heard) -> AudioSlot:
    return AudioSlot(soft_tokens=len(clip.tokens))


def quoted(clip: Heard) -> str:
    return f"A voice says: {clip.written}."


def asked_of(question: Question) -> Turn:
    return Turn(parts=(question.text,), answer=question.answer, about=question.things)


def describe_prompt(rng: np.random.Generator) -> str:
    return prompts.DESCRIBE_IMAGE if rng.random() < 0.6 else one(rng, _DESCRIBE)


def small_talk_turn(rng: np.random.Generator) -> Turn:
    maker = small_talk.talk if rng.random() < 0.65 else small_talk.anything_else
    text, answer = maker(rng)
    return Turn(parts=(text,), answer=answer)


def system_prompt(rng: np.random.Generator) -> str | None:
    return one(rng, _SYSTEM) if rng.random() < 0.06 else None
