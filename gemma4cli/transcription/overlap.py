"""Texts of two overlapping pieces, without the words that both contain."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ..languages import UNSPACED_LETTERS

_WORD = re.compile(rf"(?P<single>[{UNSPACED_LETTERS}])|[^\s{UNSPACED_LETTERS}]+")
_CHARACTER_SIZE = 0.5
"""Words that one character of a script without spaces counts as."""
_SHORTEST_FRAGMENT = 2
"""Letters that a fragment of a word must have to identify the word on its own."""


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, or one character of a script without spaces, that starts at ``start`` of its text.

    ``key`` is its form for comparison, ``size`` the number of words it counts as.
    """

    start: int
    key: str
    size: float


def without_repeated_words(before: str, after: str, most_words: int) -> tuple[str, str]:
    """Both texts, each word that ``before`` ends with and ``after`` starts with in only one.

    At most ``most_words``, as many as fit into the overlap, count as repeated. Case and punctuation
    do not matter. The last word of ``before`` and the first of ``after`` may be cut off or
    misheard, and words between them misheard; the text that has a word whole keeps it. Texts that
    share nothing are returned unchanged.
    """
    left, right = _words(before), _words(after)
    count = _repeated(left, right, most_words)
    if count == 0:
        return before, after
    if count == 1 and not _is_head(left[-1], right[0]):
        # The first text keeps the word: the second has it capitalized, as if it began a sentence.
        return before, _from(after, right, 1)
    # The second text keeps the last word: the first has a period there, where the sound ended.
    return before[: left[-1].start].rstrip(), _from(after, right, count - 1)


def _words(text: str) -> list[_Word]:
    words = []
    for found in _WORD.finditer(text):
        key = "".join(
            char
            for char in unicodedata.normalize("NFKC", found[0]).casefold()
            if unicodedata.category(char)[0] in "LMN"
        )
        # Dashes are not words, and neither are vowel signs, which belong to the previous letter.
        if any(char.isalnum() for char in key):
            words.append(_Word(found.start(), key, _CHARACTER_SIZE if found["single"] else 1.0))
    return words


def _from(text: str, words: list[_Word], number: int) -> str:
    return text[words[number].start :] if number < len(words) else ""


def _repeated(left: list[_Word], right: list[_Word], most_words: int) -> int:
    """The number of words at the end of ``left`` that ``right`` starts with."""
    best, best_score, size = 0, 0.0, 0.0
    for count in range(1, min(len(left), len(right)) + 1):
        size += right[count - 1].size
        if size > most_words:
            break
        score = _score(left[-count:], right[:count])
        if score > best_score:
            best, best_score = count, score
    return best


def _score(left: list[_Word], right: list[_Word]) -> float:
    """The evidence that two equally long runs of words are the same words; 0 for none.

    The first and the last pair may contain a word that is cut off. A pair that differs altogether
    costs less there than elsewhere; any such pair requires two pairs that are equal.
    """
    last = len(left) - 1
    equal = cut = identified = 0
    different = 0.0
    for index, (one, two) in enumerate(zip(left, right, strict=True)):
        if one.key == two.key:
            equal += 1
        elif (index == last and _start_alike(one.key, two.key)) or (
            index == 0 and _start_alike(two.key[::-1], one.key[::-1])
        ):
            cut += 1
            identified += _is_head(one, two) or _is_tail(two, one)
        else:
            different += 0.5 if index in (0, last) else 1.0
    if (different and equal < 2) or (not equal and identified < cut):
        return 0.0
    return equal + cut / 2 - different


def _start_alike(one: str, two: str) -> bool:
    """Whether two words share their first half: a word that is cut off is misheard at its end."""
    half = (min(len(one), len(two)) + 1) // 2
    return one[:half] == two[:half]


def _is_head(part: _Word, word: _Word) -> bool:
    return word.key.startswith(part.key) and _SHORTEST_FRAGMENT <= len(part.key) < len(word.key)


def _is_tail(part: _Word, word: _Word) -> bool:
    return word.key.endswith(part.key) and _SHORTEST_FRAGMENT <= len(part.key) < len(word.key)
