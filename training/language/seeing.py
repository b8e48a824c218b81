"""Tasks with pictures: descriptions, questions, comparisons, and what is said beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gemma4cli import prompts

from ..choosing import choice, one
from ..pictures.captions import caption, phrase, sentence
from ..pictures.compare import comparison
from ..pictures.description import Picture, Thing
from ..pictures.features import Shown
from ..pictures.questions import DESCRIBE_AND_TRANSCRIBE, questions
from ..speech.audio_features import Heard
from . import small_talk
from .conversations import (
    Conversation,
    Library,
    asked_of,
    audio,
    describe_prompt,
    image,
    quoted,
    small_talk_turn,
    system_prompt,
)
from .dialogues import Turn
from .hearing import transcription_prompt

_ORDINALS = ("first", "second", "third", "fourth")


def describe(rng: np.random.Generator, library: Library) -> Conversation:
    """A picture, described and then asked about, or asked about at once."""
    shown = library.pictures.any(rng)
    asked = [
        asked_of(question) for question in questions(shown.picture, rng, int(rng.integers(1, 6)))
    ]
    first = Turn(parts=(describe_prompt(rng),), answer=caption(shown.picture))
    turns = [first, *asked] if rng.random() < 0.65 else [*asked, first]
    turns[0] = replace(turns[0], parts=(image(shown), *turns[0].parts))
    return Conversation(turns=tuple(turns), pictures=(shown,), system=system_prompt(rng))


def compare(rng: np.random.Generator, library: Library) -> Conversation:
    """Two or three pictures in one turn."""
    first, second = library.pictures.any(rng), library.pictures.any(rng)
    if rng.random() < 0.12:
        second = first
    shown = [first, second]
    if rng.random() < 0.5:
        question, answer = comparison(first.picture, second.picture, rng)
    else:
        if rng.random() < 0.3:
            shown.append(library.pictures.any(rng))
        question = prompts.DESCRIBE_IMAGES
        answer = " ".join(
            f"The {ordinal} image shows {phrase(each.picture)}."
            for ordinal, each in zip(_ORDINALS, shown, strict=False)
        )
    turn = Turn(parts=(*map(image, shown), question), answer=answer)
    return Conversation(turns=(turn,), pictures=tuple(shown))


def several_turns(rng: np.random.Generator, library: Library) -> Conversation:
    """A picture or a clip with every turn, questions about the latest picture between them."""
    turns: list[Turn] = []
    pictures: list[Shown] = []
    sounds: list[Heard] = []
    seen: Picture | None = None
    for _ in range(int(rng.integers(2, 5))):
        kind = choice(rng, {"picture": 0.4, "clip": 0.2, "question": 0.3, "talk": 0.1})
        if kind == "question" and seen is not None:
            turns.append(asked_of(questions(seen, rng, 1)[0]))
        elif kind == "clip":
            clip = library.clips.any(rng, {"sentence": 0.8, "german": 0.2})
            asked = transcription_prompt(rng, clip)
            turns.append(Turn(parts=(asked, audio(clip)), answer=clip.written))
            sounds.append(clip)
        elif kind == "talk":
            turns.append(small_talk_turn(rng))
        else:
            shown = library.pictures.any(rng)
            seen = shown.picture
            turns.append(Turn(parts=(image(shown), describe_prompt(rng)), answer=caption(seen)))
            pictures.append(shown)
    return Conversation(
        turns=tuple(turns),
        pictures=tuple(pictures),
        sounds=tuple(sounds),
        system=system_prompt(rng),
    )


def see_and_listen(rng: np.random.Generator, library: Library) -> Conversation:
    """A picture and a clip in one turn: a spoken question about it, or both described."""
    shown = library.pictures.any(rng)
    for question in questions(shown.picture, rng, 6):
        if question.spoken is None or rng.random() < 0.25:
            continue
        clip = library.clips.saying(rng, question.spoken)
        if clip is not None:
            text = one(rng, ("Answer the question.", "Answer the spoken question.", ""))
            return _seen_and_heard(shown, clip, text, question.answer, about=question.things)
    clip = library.clips.any(rng, {"sentence": 0.8, "german": 0.2})
    answer = f"{caption(shown.picture)} {quoted(clip)}"
    return _seen_and_heard(shown, clip, DESCRIBE_AND_TRANSCRIBE, answer)


def think(rng: np.random.Generator, library: Library) -> Conversation:
    """An answer with a thought before it: what is seen, or what is asked for."""
    if rng.random() < 0.3:
        turn = small_talk_turn(rng)
        known = turn.answer not in (small_talk.UNKNOWN, small_talk.UNABLE)
        thought = "This is about me." if known else "I have not learned this."
        return Conversation(turns=(Turn(parts=turn.parts, answer=turn.answer, thought=thought),))
    shown = library.pictures.any(rng)
    thought = sentence(f"the image shows {phrase(shown.picture)}")
    if rng.random() < 0.5:
        text, answer = describe_prompt(rng), caption(shown.picture)
    else:
        question = questions(shown.picture, rng, 1)[0]
        text, answer = question.text, question.answer
    turn = Turn(parts=(image(shown), text), answer=answer, thought=thought)
    return Conversation(turns=(turn,), pictures=(shown,))


def _seen_and_heard(
    shown: Shown, clip: Heard, text: str, answer: str, *, about: tuple[Thing, ...] = ()
) -> Conversation:
    parts = (image(shown), text, audio(clip)) if text else (image(shown), audio(clip))
    turn = Turn(parts=parts, answer=answer, about=about)
    return Conversation(turns=(turn,), pictures=(shown,), sounds=(clip,))
