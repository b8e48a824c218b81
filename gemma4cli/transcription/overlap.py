"""Texts of two pieces that overlap, without the words that both have."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_UNSPACED = (
    "\u0e00-\u109f"  # Thai, Lao, Tibetan, Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005\u3040-\u30ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
)
_WORD = re.compile(rf"(?P<sign>[{_UNSPACED}])|[^\s{_UNSPACED}]+")
_SIGN = 0.5
"""Words that a character counts for in a language that puts no spaces between words."""
_FRAGMENT = 2
"""Letters of what is left of a word, without which it is not known for it by itself."""


@dataclass(frozen=True, slots=True)
class _Word:
    """A word at ``start`` of its text, or a character where words are not told apart.

    ``key`` is what it is compared by, ``size`` how many words it counts for.
    """

    start: int
    key: str
    size: float


def without_doubled(before: str, after: str, most_words: int) -> tuple[str, str]:
    """Both texts, without what the end of ``before`` and the beginning of ``after`` share.

    At most ``most_words`` are doubled, so many as fit into the overlap. Case and punctuation do
    not matter. The last word of ``before`` and the first of ``after`` may be cut through or
    misheard, and any in the middle misheard; where the other text has it whole, that is kept.
    Texts that share nothing are left as they are.
    """
    left, right = _words(before), _words(after)
    count = _doubled(left, right, most_words)
    if count == 0:
        return before, after
    if count == 1 and not _is_head(left[-1], right[0]):
        # All that there is behind the cut; in its place the other text has a capital letter.
        return before, _from(after, right, 1)
    # The end of the text before is that of a sentence only because the sound ended.
    return before[: left[-1].start].rstrip(), _from(after, right, count - 1)


def _words(text: str) -> list[_Word]:
    words = []
    for found in _WORD.finditer(text):
        key = "".join(
            sign
            for sign in unicodedata.normalize("NFKC", found[0]).casefold()
            if unicodedata.category(sign)[0] in "LMN"
        )
        # Neither a dash nor a vowel sign that belongs to the letter before it is a word.
        if any(sign.isalnum() for sign in key):
            words.append(_Word(found.start(), key, _SIGN if found["sign"] else 1.0))
    return words


def _from(text: str, words: list[_Word], number: int) -> str:
    return text[words[number].start :] if number < len(words) else ""


def _doubled(left: list[_Word], right: list[_Word], most_words: int) -> int:
    """How many words at the end of ``left`` are those at the beginning of ``right``."""
    best, likeliest, size = 0, 0.0, 0.0
    for count in range(1, min(len(left), len(right)) + 1):
        size += right[count - 1].size
        if size > most_words:
            break
        likelihood = _likelihood(left[-count:], right[:count])
        if likelihood > likeliest:
            best, likeliest = count, likelihood
    return best


def _likelihood(left: list[_Word], right: list[_Word]) -> float:
    """How much speaks for it that two runs of words are the same, pair by pair; 0 for nothing.

    At the border one of a pair may be cut through. A word that differs altogether costs less there
    than elsewhere, and takes two that are the same to be excused.
    """
    last = len(left) - 1
    same = cut = sure = 0
    other = 0.0
    for place, (one, two) in enumerate(zip(left, right, strict=True)):
        if one.key == two.key:
            same += 1
        elif (place == last and _alike(one.key, two.key)) or (
            place == 0 and _alike(two.key[::-1], one.key[::-1])
        ):
            cut += 1
            sure += _is_head(one, two) or _is_tail(two, one)
        else:
            other += 0.5 if place in (0, last) else 1.0
    if (other and same < 2) or (not same and sure < cut):
        return 0.0
    return same + cut / 2 - other


def _alike(one: str, two: str) -> bool:
    """Whether two words begin alike: what is cut through is misheard at its other end."""
    half = (min(len(one), len(two)) + 1) // 2
    return one[:half] == two[:half]


def _is_head(part: _Word, word: _Word) -> bool:
    return word.key.startswith(part.key) and _FRAGMENT <= len(part.key) < len(word.key)


def _is_tail(part: _Word, word: _Word) -> bool:
    return word.key.endswith(part.key) and _FRAGMENT <= len(part.key) < len(word.key)
