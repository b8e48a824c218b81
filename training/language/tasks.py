"""The tasks of the language model, and how often it practises each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..choosing import choice
from .conversations import Conversation, Library, small_talk_turn, system_prompt
from .hearing import transcribe, translate
from .seeing import compare, describe, see_and_listen, several_turns, think
from .watching import watch, watch_and_listen

Task = Callable[[np.random.Generator, Library], Conversation]
Shares = dict[Task, float]


def chat(rng: np.random.Generator, library: Library) -> Conversation:
    """Small talk of one to three turns."""
    turns = tuple(small_talk_turn(rng) for _ in range(int(rng.integers(1, 4))))
    return Conversation(turns=turns, system=system_prompt(rng))


SHARES: Shares = {
    transcribe: 0.42,
    translate: 0.03,
    describe: 0.18,
    compare: 0.05,
    several_turns: 0.03,
    watch: 0.12,
    watch_and_listen: 0.06,
    see_and_listen: 0.07,
    chat: 0.03,
    think: 0.01,
}
WITHOUT_PICTURES: Shares = {task: SHARES[task] for task in (transcribe, translate, chat)}


def conversation(rng: np.random.Generator, library: Library, shares: Shares) -> Conversation:
    """A random conversation, of each task as often as its share says."""
    return choice(rng, shares)(rng, library)


def with_transcripts(part: float) -> Shares:
    """The shares of all tasks if ``part`` of the conversations are transcripts."""
    others = sum(SHARES.values()) - SHARES[transcribe]
    rest = {task: share * (1 - part) / others for task, share in SHARES.items()}
    return rest | {transcribe: part}
