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
from .answers import Batch
from .dialogues import Encoded, encode
from .tasks import Conversation

FLAVOUR = PromptFlavour(empty_thought=False)
"""E2B and E4B do not open their answers with an empty thought."""
_SEEN = ("image", "video")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    conversation: Conversation
    encoded: Encoded


def example(conversation: Conversation, tokenizer: Tokenizer) -> Example:
    encoded = encode(conversation.turns, tokenizer, FLAVOUR, system=conversation.system)
    return Example(conversation=conversation, encoded=encoded)


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
    return Batch(
        ids=torch.from_numpy(ids),
        pictures=_tokens([each.tokens for each in shown]),
        picture_labels=_labels(shown),
        picture_places=_soft(examples, _SEEN),
        picture_ends=_ends(examples),
        repeated=torch.tensor([again for each in examples for again in _repeated(each)]),
        sounds=_tokens([t for each in examples for t in each.conversation.sounds]),
        sound_places=sounds,
        answers=torch.from_numpy(answers),
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
    )


def _soft(examples: Sequence[Example], kinds: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the soft tokens of some kinds of media."""
    rows: list[int] = []
    columns: list[int] = []
    for row, each in enumerate(examples):
        for span in each.encoded.spans:
            if span.kind in kinds:
                columns += range(span.start, span.end)
                rows += [row] * (span.end - span.start)
    return torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)


def _ends(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    ends = [
        (row, span.end)
        for row, each in enumerate(examples)
        for span in each.encoded.spans
        if span.kind in _SEEN
    ]
    rows, columns = torch.tensor(ends, dtype=torch.long).reshape(-1, 2).unbind(1)
    return rows, columns


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
