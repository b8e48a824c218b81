"""What is said about a picture or a clip in one conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gemma4cli import prompts
from gemma4cli.processing.prompt import AudioSlot, ImageSlot, PromptFlavour
from gemma4cli.processing.tokenizer import Tokenizer

from ..choosing import one
from ..language.dialogues import Encoded, Turn, encode
from ..pictures.captions import caption
from ..pictures.description import Picture
from ..pictures.questions import questions
from .scenes import COLORLESS

_DESCRIBE = ("What do you see?", "What is in this picture?", "Describe the picture.")
_TRANSCRIBE = ("Transcribe this.", "What do you hear?", "Which digits do you hear?")
_SHARE_OF_OTHER_WORDINGS = 0.15
_SHARE_WITHOUT_CAPTION = 0.4
_SHARE_IN_ANY_ORDER = 0.2
_WHICH_COLOR = ("What color is this picture?", "What color is the picture?", "Which color is this?")
_HOW_MANY = ("How many objects are there?", "How many objects do you see?")


def encoded(turns: Sequence[Turn], tokenizer: Tokenizer) -> Encoded:
    """The ids of a conversation in the 12B's template.

    It opens the answer that is asked for with an empty thought, and shows earlier ones without.
    """
    whole = encode(turns, tokenizer, PromptFlavour(empty_thought=True))
    if len(turns) == 1:
        return whole
    earlier = encode(turns[:-1], tokenizer, PromptFlavour(empty_thought=False))
    return replace(whole, answers=(*earlier.answers, whole.answers[-1]))


def described(picture: Picture) -> str:
    """The caption of a picture, "A plain picture without color." of one that has none."""
    return f"A plain picture {COLORLESS}." if picture.plain == COLORLESS else caption(picture)


def about_picture(
    picture: Picture, soft_tokens: int, rng: np.random.Generator, count: int
) -> list[Turn]:
    """A conversation of ``count`` questions, the caption or both.

    Behind a caption a question can be answered without a look at the picture, so it seldom stands
    there.
    """
    described_as = (_worded(prompts.DESCRIBE_IMAGE, _DESCRIBE, rng), described(picture))
    asked = _asked(picture, rng, count)
    order = rng.random()
    if not asked or order > _SHARE_WITHOUT_CAPTION:
        asked.append(described_as)
    if order > 1 - _SHARE_IN_ANY_ORDER:
        asked = [asked[int(i)] for i in rng.permutation(len(asked))]
    first, *rest = asked
    return [
        Turn(parts=(ImageSlot(soft_tokens=soft_tokens), first[0]), answer=first[1]),
        *(Turn(parts=(question,), answer=answer) for question, answer in rest),
    ]


def about_clip(written: str, soft_tokens: int, rng: np.random.Generator) -> list[Turn]:
    """A request for the transcript, in the tool's words and with the clip behind them."""
    usual = prompts.transcription("English" if rng.random() < 0.3 else None)
    prompt = _worded(usual, _TRANSCRIBE, rng)
    return [Turn(parts=(prompt, AudioSlot(soft_tokens=soft_tokens)), answer=written)]


def _worded(usual: str, others: Sequence[str], rng: np.random.Generator) -> str:
    """What the tool asks by itself, now and then as a user may ask for it."""
    if rng.random() < _SHARE_OF_OTHER_WORDINGS:
        return one(rng, others)
    return usual


def _asked(picture: Picture, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    if picture.plain is None:
        return [(each.text, each.answer) for each in questions(picture, rng, count)]
    colorless = picture.plain == COLORLESS
    answer = "It has no color." if colorless else f"{picture.plain.capitalize()}."
    pairs = [
        (one(rng, _WHICH_COLOR), answer),
        (one(rng, _HOW_MANY), "None."),
    ]
    return pairs[:count]
