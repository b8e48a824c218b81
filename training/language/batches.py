"""Conversations to padded batches of about equal cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gemma4cli.processing.prompt import PromptFlavour
from gemma4cli.processing.tokenizer import Tokenizer

from ..pictures.features import Shown
from ..pictures.labels import CLASSES
from ..speech.targets import BLANK, word_ids
from .answers import Batch
from .conversations import Conversation
from .dialogues import Encoded, encode
from .looks import Look, looks

FLAVOUR = PromptFlavour(empty_thought=False)
"""E2B and E4B do not open their answers with an empty thought."""
_SEEN = ("image", "video")
WORDS_BEFORE = 3
"""How many words before a word are told with it. Two in a row are often said twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    conversation: Conversation
    encoded: Encoded
    looks: tuple[Look, ...]


def example(conversation: Conversation, tokenizer: Tokenizer) -> Example:
    encoded = encode(conversation.turns, tokenizer, FLAVOUR, system=conversation.system)
    return Example(
        conversation=conversation,
        encoded=encoded,
        looks=tuple(looks(conversation, encoded, tokenizer)),
    )


def batches(examples: Sequence[Example], padding: int, most: int) -> Iterator[Batch]:
    """All examples, those of like length together, as many as fit ``most`` positions."""
    ordered = sorted(examples, key=lambda each: len(each.encoded.ids))
    some: list[Example] = []
    for each in ordered:
        # A batch of one would have shapes of its own, for which everything is compiled anew.
        if len(some) > 1 and (len(some) + 1) * len(each.encoded.ids) > most:
            yield _padded(some, padding)
            some = []
        some.append(each)
    yield _padded(some if len(some) > 1 else some * 2, padding)


def _padded(examples: Sequence[Example], padding: int) -> Batch:
    length = max(len(each.encoded.ids) for each in examples)
    learnt = [[i for span in each.encoded.answers for i in span] for each in examples]
    most = max(map(len, learnt))
    ids = np.full((len(examples), length), padding)
    answers = np.zeros((len(examples), most), np.int64)
    targets = np.zeros((len(examples), most), np.int64)
    weights = np.zeros((len(examples), most), np.float32)
    for row, (each, positions) in enumerate(zip(examples, learnt, strict=True)):
        known = np.array(each.encoded.ids)
        ids[row, : len(known)] = known
        answers[row, : len(positions)] = np.array(positions) - 1
        targets[row, : len(positions)] = known[positions]
        # A long transcript counts more than "Yes.", but not as many times more as it is longer.
        weights[row, : len(positions)] = len(positions) ** -0.5
        for span in each.encoded.spans:
            ids[row, span.start : span.end] = padding
    shown = [each for of_one in examples for each in of_one.conversation.pictures]
    sounds = _soft(examples, ("audio",))
    numbers = _numbers(examples)
    told, tellers = _told(examples, numbers)
    lookers, looked_at = _looks(examples, learnt)
    return Batch(
        ids=torch.from_numpy(ids),
        pictures=_tokens([each.tokens for each in shown]),
        picture_labels=_labels(shown),
        picture_places=_soft(examples, _SEEN),
        picture_ends=_ends(examples),
        repeated=torch.tensor([again for each in examples for again in _repeated(each)]),
        sounds=_tokens([clip.tokens for each in examples for clip in each.conversation.sounds]),
        sound_places=sounds,
        words=_words(examples),
        word_numbers=torch.tensor(list(numbers.values()), dtype=torch.long),
        word_places=_pairs(list(numbers)),
        told=told,
        tellers=tellers,
        lookers=lookers,
        looked_at=looked_at,
        answers=torch.from_numpy(answers),
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
    )


def _soft(examples: Sequence[Example], kinds: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the soft tokens of some kinds of media."""
    return _pairs(
        [
            (row, column)
            for row, each in enumerate(examples)
            for span in each.encoded.spans
            if span.kind in kinds
            for column in range(span.start, span.end)
        ]
    )


def _words(examples: Sequence[Example]) -> torch.Tensor:
    """The words that are heard, each with those before it."""
    ids = word_ids()
    words: list[list[int]] = []
    for clip in (clip for each in examples for clip in each.conversation.sounds):
        last = [BLANK] * WORDS_BEFORE
        for _, word in clip.spelled:
            last = [ids[word], *last][: WORDS_BEFORE + 1]
            words.append(last)
    return torch.tensor(words, dtype=torch.long).reshape(-1, WORDS_BEFORE + 1)


def _numbers(examples: Sequence[Example]) -> dict[tuple[int, int], int]:
    """The number in its sound of every word that is heard, by the row and column where it begins.

    In the order of ``_words``.
    """
    numbers: dict[tuple[int, int], int] = {}
    for row, each in enumerate(examples):
        heard = [span for span in each.encoded.spans if span.kind == "audio"]
        for span, clip in zip(heard, each.conversation.sounds, strict=True):
            numbers |= {(row, span.start + at): n for n, (at, _) in enumerate(clip.spelled)}
    return numbers


def _told(
    examples: Sequence[Example], numbers: dict[tuple[int, int], int]
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """The numbers of the words that answers tell of, and the tokens before those that tell them."""
    told: list[int] = []
    tellers: list[tuple[int, int]] = []
    for row, each in enumerate(examples):
        for look in each.looks:
            number = numbers.get((row, look.places[0]))
            if number is not None:
                told.append(number)
                tellers.append((row, look.token - 1))
    return torch.tensor(told, dtype=torch.long), _pairs(tellers)


def _looks(
    examples: Sequence[Example], learnt: Sequence[Sequence[int]]
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    lookers: list[tuple[int, int]] = []
    looked_at: list[tuple[int, int]] = []
    for row, (each, positions) in enumerate(zip(examples, learnt, strict=True)):
        column = {position: number for number, position in enumerate(positions)}
        for look in each.looks:
            looked_at += [(len(lookers), place) for place in look.places]
            lookers.append((row, column[look.token]))
    return _pairs(lookers), _pairs(looked_at)


def _pairs(places: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.tensor(places, dtype=torch.long).reshape(-1, 2).unbind(1)
    return rows, columns


def _ends(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    ends = [
        (row, span.end)
        for row, each in enumerate(examples)
        for span in each.encoded.spans
        if span.kind in _SEEN
    ]
    return _pairs(ends)


def _repeated(one: Example) -> list[int]:
    shown = [each.picture for each in one.conversation.pictures]
    return [int(number > 0 and each == shown[number - 1]) for number, each in enumerate(shown)]


def _labels(shown: Sequence[Shown]) -> torch.Tensor:
    if not shown:
        return torch.zeros(0, len(CLASSES), dtype=torch.int8)
    return torch.from_numpy(np.concatenate([each.labels for each in shown]))


def _tokens(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    if not arrays:
        return torch.zeros(0, 0)
    return torch.from_numpy(np.concatenate(arrays).astype(np.float32))
