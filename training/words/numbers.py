"""Numbers as they are spoken and as they are written.

The written form is a function of the spoken words alone: the longest number that starts at a word
is written as one number, so "twenty three" is 23, "three twenty" is 3 20 and digits that are
spelled one after the other stay apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNITS_EN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS_EN = (
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS_EN = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
HUNDRED = "hundred"
ENGLISH_NUMBER_WORDS = (*UNITS_EN, *TEENS_EN, *TENS_EN, HUNDRED)

UNITS_DE = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
TEENS_DE = (
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
)
TENS_DE = (
    "zwanzig",
    "dreißig",
    "vierzig",
    "fünfzig",
    "sechzig",
    "siebzig",
    "achtzig",
    "neunzig",
)
UND = "und"
EIN = "ein"
GERMAN_NUMBER_WORDS = (*UNITS_DE, *TEENS_DE, *TENS_DE)

_SMALL_EN = {word: value for value, word in enumerate((*UNITS_EN, *TEENS_EN))}
_TENS_EN = {word: 10 * value for value, word in enumerate(TENS_EN, start=2)}
_SMALL_DE = {word: value for value, word in enumerate((*UNITS_DE, *TEENS_DE))}
_TENS_DE = {word: 10 * value for value, word in enumerate(TENS_DE, start=2)}
_BEFORE_UND = {EIN: 1, **{word: value for value, word in enumerate(UNITS_DE) if value > 1}}


def english_number(value: int) -> tuple[str, ...]:
    """0-999 as spoken: 205 is "two hundred five"."""
    if value >= 100:
        rest = english_number(value % 100) if value % 100 else ()
        return (UNITS_EN[value // 100], HUNDRED, *rest)
    if value >= 20:
        unit = (UNITS_EN[value % 10],) if value % 10 else ()
        return (TENS_EN[value // 10 - 2], *unit)
    return ((*UNITS_EN, *TEENS_EN)[value],)


def german_number(value: int) -> tuple[str, ...]:
    """0-99 as spoken, a compound word by word: 23 is "drei und zwanzig"."""
    if value < 20:
        return ((*UNITS_DE, *TEENS_DE)[value],)
    tens = TENS_DE[value // 10 - 2]
    if value % 10 == 0:
        return (tens,)
    return (EIN if value % 10 == 1 else UNITS_DE[value % 10], UND, tens)


def write_english(spoken: Sequence[str]) -> str:
    """The transcript of ``spoken``, its number words as digits."""
    return " ".join(word for word, _ in english_parts(spoken))


def write_german(spoken: Sequence[str]) -> str:
    """The transcript of ``spoken``, its number words as digits; the article "ein" stays."""
    return " ".join(word for word, _ in german_parts(spoken))


def english_parts(spoken: Sequence[str]) -> list[tuple[str, int]]:
    """The words of the transcript, each with the count of spoken words that it stands for."""
    return _parts(spoken, _english_number_at)


def german_parts(spoken: Sequence[str]) -> list[tuple[str, int]]:
    """As ``english_parts``."""
    return _parts(spoken, _german_number_at)


def digit_words(number: str, spoken: Sequence[str]) -> list[int]:
    """Which of its ``spoken`` words each digit of ``number`` is heard in.

    205 is "two hundred five": 0, 1, 2; a zero is heard in the word that it is the rest of.
    """
    ones = len(spoken) - 1
    tens = ones
    if len(spoken) > 1 and spoken[ones] in _TENS_DE:  # drei und zwanzig
        ones, tens = 0, ones
    elif len(spoken) > 1 and _SMALL_EN.get(spoken[ones], 10) < 10:
        tens = ones - 1
    return [0, tens, ones][-len(number) :]


def _parts(
    spoken: Sequence[str], number_at: Callable[[Sequence[str], int], tuple[int, int]]
) -> list[tuple[str, int]]:
    parts: list[tuple[str, int]] = []
    at = 0
    while at < len(spoken):
        value, taken = number_at(spoken, at)
        parts.append((str(value), taken) if taken else (spoken[at], 1))
        at += parts[-1][1]
    return parts


def _english_number_at(spoken: Sequence[str], at: int) -> tuple[int, int]:
    """The longest number that starts at ``at`` and how many words it takes (0: none does)."""
    value, taken = _english_below_hundred_at(spoken, at)
    if taken == 1 and 1 <= value <= 9 and HUNDRED in spoken[at + 1 : at + 2]:
        rest, more = _english_below_hundred_at(spoken, at + 2)
        more = more if rest > 0 else 0
        return 100 * value + (rest if more else 0), 2 + more
    return value, taken


def _english_below_hundred_at(spoken: Sequence[str], at: int) -> tuple[int, int]:
    word = spoken[at] if at < len(spoken) else ""
    if word in _TENS_EN:
        unit = _SMALL_EN.get(spoken[at + 1], 0) if at + 1 < len(spoken) else 0
        return (_TENS_EN[word] + unit, 2) if 1 <= unit <= 9 else (_TENS_EN[word], 1)
    return (_SMALL_EN[word], 1) if word in _SMALL_EN else (0, 0)


def _german_number_at(spoken: Sequence[str], at: int) -> tuple[int, int]:
    """The longest number that starts at ``at`` and how many words it takes (0: none does)."""
    if at + 2 < len(spoken) and spoken[at + 1] == UND and spoken[at + 2] in _TENS_DE:
        unit = _BEFORE_UND.get(spoken[at])
        if unit is not None:
            return unit + _TENS_DE[spoken[at + 2]], 3
    word = spoken[at]
    if word in _TENS_DE:
        return _TENS_DE[word], 1
    return (_SMALL_DE[word], 1) if word in _SMALL_DE else (0, 0)
