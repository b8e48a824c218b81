"""Tasks with a clip alone: what is said, and the same in English."""

from __future__ import annotations

import numpy as np

from gemma4cli import prompts

from ..choosing import one
from ..speech.audio_features import Heard
from .conversations import Conversation, Library, audio
from .dialogues import Turn
from .joining import JOINED

_LANGUAGE_NAMES = {"en": "English", "de": "German"}
_SPEECH = {
    "sentence": 0.07,
    "sentences": 0.07,
    "cut": 0.24,
    JOINED: 0.33,
    "random words": 0.08,
    "question": 0.02,
    "numbers": 0.07,
    "german": 0.05,
    "german sentences": 0.03,
    "no words": 0.04,
}
_TRANSCRIBE = (
    "Transcribe the speech.", "Transcribe this audio.", "Transcribe this.", "What is said?",
    "What do you hear?", "Write down what is said.", "Transcribe the audio.", "What did I say?",
)  # fmt: skip


def transcribe(rng: np.random.Generator, library: Library) -> Conversation:
    clip = library.clips.any(rng, _SPEECH)
    turn = Turn(parts=(transcription_prompt(rng, clip), audio(clip)), answer=clip.written)
    return Conversation(turns=(turn,), sounds=(clip,))


def translate(rng: np.random.Generator, library: Library) -> Conversation:
    """German to English in the card's two lines."""
    clip = library.clips.any(rng, {"german": 0.75, "german sentences": 0.25})
    spoken = None if rng.random() < 0.4 else "German"
    turn = Turn(
        parts=(prompts.translation(spoken, "English"), audio(clip)),
        answer=f"{clip.written}\nEnglish: {clip.english}" if clip.written else "",
    )
    return Conversation(turns=(turn,), sounds=(clip,))


def transcription_prompt(rng: np.random.Generator, clip: Heard) -> str:
    asked = rng.random()
    if asked < 0.45:
        return prompts.transcription()
    if asked < 0.8:
        return prompts.transcription(_LANGUAGE_NAMES[clip.language])
    return one(rng, _TRANSCRIBE)
