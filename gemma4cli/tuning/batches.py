"""Which examples a step learns from, and the arrays of a batch.

The order of a round follows from the seed and the round's number, so a run that goes on needs to
know no more than the step. Examples of similar length share a step: the shorter are padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .examples import Example

_SORTED_TOGETHER = 16
"""Steps whose examples are sorted by length together."""
_MULTIPLE = 16
"""Lengths are rounded up to a multiple: arrays of few sizes can use the same memory."""

Integers = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Examples as rows, padded at their ends.

    Attributes:
        examples: The examples.
        ids: int32 ``[B, L]``.
        rows, columns: int32 ``[n]``, the position before each learned token.
        targets: int32 ``[n]``, the learned tokens.
        blocks: The image block of each position or -1, ``[B, L]``.
    """

    examples: tuple[Example, ...]
    ids: Integers
    rows: Integers
    columns: Integers
    targets: Integers
    blocks: Integers

    @property
    def has_blocks(self) -> bool:
        """Whether there is any image block."""
        return bool((self.blocks >= 0).any())

    @property
    def tokens(self) -> int:
        """Tokens of the examples, without padding."""
        return sum(len(each.ids) for each in self.examples)


def make_batch(examples: Sequence[Example], pad: int) -> Batch:
    """The arrays of examples."""
    length = padded_length(max(len(each.ids) for each in examples))
    ids = np.full((len(examples), length), pad, np.int32)
    blocks = np.full((len(examples), length), -1, np.int32)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, each in enumerate(examples):
        ids[row, : len(each.ids)] = each.ids
        for number, span in enumerate(each.spans):
            if span.kind != "audio":
                blocks[row, span.start : span.end] = number
        for start, end in each.learned:
            rows += [row] * (end - start)
            columns += range(start - 1, end - 1)
            targets += each.ids[start:end]
    return Batch(
        examples=tuple(examples),
        ids=ids,
        rows=np.array(rows, np.int32),
        columns=np.array(columns, np.int32),
        targets=np.array(targets, np.int32),
        blocks=blocks,
    )


def padded_length(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE


def steps_per_round(examples: Sequence[Example], size: int) -> int:
    return -(-sum(each.repeats for each in examples) // size)


def round_of(
    examples: Sequence[Example], size: int, seed: int, number: int
) -> list[tuple[int, ...]]:
    """The examples of each step of a round, by their index: each example once, or as it repeats."""
    generator = np.random.default_rng((seed, number))
    indices = np.repeat(np.arange(len(examples)), [each.repeats for each in examples])
    generator.shuffle(indices)
    steps: list[tuple[int, ...]] = []
    for start in range(0, len(indices), size * _SORTED_TOGETHER):
        part = sorted(
            indices[start : start + size * _SORTED_TOGETHER].tolist(),
            key=lambda index: len(examples[index].ids),
        )
        steps += [tuple(part[at : at + size]) for at in range(0, len(part), size)]
    return [steps[int(at)] for at in generator.permutation(len(steps))]


def rows_within(examples: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """The examples, the longest first, in parts of at most so many padded tokens, or one alone.

    A step computes one part after the other and adds their gradients.
    """
    waiting = sorted(examples, key=lambda each: -len(each.ids))
    while waiting:
        count = max(1, tokens // padded_length(len(waiting[0].ids)))
        yield waiting[:count]
        waiting = waiting[count:]
