"""Sentences of both languages, and words in random order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from . import english, german
from .numbers import write_english, write_german

LANGUAGES = ("en", "de")

_GRAMMARS = {"en": english.GRAMMAR, "de": german.GRAMMAR}
_WRITE = {"en": write_english, "de": write_german}
_HELD_OUT_PERCENT = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """``spoken`` word by word; ``written`` with digits; ``english`` its translation, written."""

    spoken: tuple[str, ...]
    written: str
    language: str
    english: str


def sentence(rng: np.random.Generator, language: str) -> Sentence:
    """A sentence of the grammar of ``language``; it may be a held-out one."""
    phrase = _GRAMMARS[language].phrase(rng)
    spoken = tuple(phrase.spoken.split())
    written = _WRITE[language](spoken)
    translation = written if language == "en" else phrase.english
    return Sentence(spoken=spoken, written=written, language=language, english=translation)


def english_words(spoken: Sequence[str]) -> Sentence:
    """Any English words; what is left of a number is written as a number of its own."""
    written = write_english(spoken)
    return Sentence(spoken=tuple(spoken), written=written, language="en", english=written)


def random_words(rng: np.random.Generator, language: str, count: int) -> Sentence:
    """``count`` words in any order, possibly repeated; only English ones are translated."""
    pool = _words_alone(language)
    spoken = tuple(pool[int(index)] for index in rng.integers(0, len(pool), count))
    written = _WRITE[language](spoken)
    translation = written if language == "en" else ""
    return Sentence(spoken=spoken, written=written, language=language, english=translation)


def numbers(rng: np.random.Generator, language: str, count: int) -> Sentence:
    """``count`` number words in any order."""
    pool = english.ENGLISH_NUMBER_WORDS if language == "en" else german.GERMAN_NUMBER_WORDS
    spoken = tuple(pool[int(index)] for index in rng.integers(0, len(pool), count))
    written = _WRITE[language](spoken)
    return Sentence(spoken=spoken, written=written, language=language, english=written)


@cache
def spoken_words(language: str) -> tuple[str, ...]:
    """Every word that ``language`` can say, in alphabetical order."""
    return _GRAMMARS[language].words()


@cache
def word_alphabet() -> tuple[str, ...]:
    """The words of all languages in alphabetical order: what the audio tower learns to spell."""
    return tuple(sorted({word for language in LANGUAGES for word in spoken_words(language)}))


def is_held_out(sentence: Sentence) -> bool:
    """Whether training never sees ``sentence``: a fixed twentieth, by the written text."""
    digest = hashlib.blake2b(sentence.written.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % 100 < _HELD_OUT_PERCENT


def _words_alone(language: str) -> tuple[str, ...]:
    words = spoken_words(language)
    return tuple(w for w in words if w not in english.HOMOPHONES) if language == "en" else words
