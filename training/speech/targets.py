"""What the audio tower spells: words on its output, letters of phonemes halfway."""

from __future__ import annotations

from functools import cache

from training.words.sentence import word_alphabet

BLANK = 0
PHONEMES = "abcdefhijklmnopqrstuvwxyzæçðøŋœɐɑɒɔəɚɛɜɡɪɹɾʃʉʊʌʍʏʒθᵻ"  # noqa: RUF001
"""Letters only: marks of stress and length say nothing about which word it is."""


@cache
def word_ids() -> dict[str, int]:
    return {word: index for index, word in enumerate(word_alphabet(), start=BLANK + 1)}


def phoneme_ids(phonemes: str) -> list[int]:
    """The ids of the letters of ``phonemes``; spaces and marks are left out."""
    ids = (PHONEMES.find(letter) for letter in phonemes)
    return [index + BLANK + 1 for index in ids if index >= 0]
