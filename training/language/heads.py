"""Which words the towers' own heads speak for: where the projectors start from.

Every function gives token ids int64 ``[W]`` and the rows ``[W, width]`` of the linear heads.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gemma4cli.processing.tokenizer import Tokenizer

from ..loop import trained
from ..pictures import vision_tower
from ..pictures.captions import NUMBERS
from ..pictures.colors import PLAIN_COLORS
from ..pictures.description import SHAPES
from ..pictures.labels import CLASSES, MAX_COUNT
from ..pictures.lettering import CHARACTERS
from ..speech import audio_tower
from ..words.sentence import word_alphabet

_NUMBERS = tuple(f" {number.lower()}" for number in NUMBERS[1 : MAX_COUNT + 1])
_SAID: dict[str, tuple[str | None, ...]] = {
    "shape": (None, *(f" {shape}" for shape in SHAPES)),
    "color": (None, *(f" {color}" for color in PLAIN_COLORS)),
    "row": (" top", " center", " bottom"),
    "column": (" left", " center", " right"),
    "count": _NUMBERS,
    "first": (None, *CHARACTERS),
}
"""What each class of a head of the vision tower is called; None where it means nothing."""


def words_of_pictures(work: Path, tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    weights = trained(work / vision_tower.FOLDER, "heads")["all.linear.weight"]
    parts = dict(zip(CLASSES, weights.split(list(CLASSES.values())), strict=True))
    pairs = [
        (tokenizer.encode(word)[0], row)
        for head, words in _SAID.items()
        for word, row in zip(words, parts[head], strict=True)
        if word is not None
    ]
    return _stacked(pairs)


def words_of_sounds(
    work: Path, tokenizer: Tokenizer, head: str = "words"
) -> tuple[torch.Tensor, torch.Tensor]:
    """A head of the audio tower, "words" or "previous", for each word's first token."""
    rows = audio_tower.head_rows(work, head)
    pairs = [
        (tokenizer.encode(f" {word}")[0], row)
        for word, row in zip(word_alphabet(), rows, strict=True)
    ]
    return _stacked(pairs)


def _stacked(pairs: list[tuple[int, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    ids, rows = zip(*pairs, strict=True)
    return torch.tensor(ids), torch.stack(rows)
