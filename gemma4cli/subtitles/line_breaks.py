"""Where a text may be broken, and how wide it is on a screen. Pure functions on strings.

Widths are in columns, as terminals count them: most characters take one, those of East Asian
scripts and emoji two, and what joins the character before it none, spacing marks excepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from unicodedata import category, east_asian_width


class Break(IntEnum):
    """What a break parts, from the best to the worst place for one.

    INSIDE stands for the middle of a word or of a number, and for places that a script forbids,
    such as before a full stop or behind an opening bracket.
    """

    SENTENCE = 0
    CLAUSE = 1
    WORD = 2
    INSIDE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """What stays on one line: a word, or one character where a script has no spaces.

    ``spaced`` tells whether a space stands before it, ``end`` what a break behind it parts.
    """

    text: str
    columns: int
    spaced: bool
    end: Break


# No-break spaces belong to the words on both sides of them.
_SPACES = re.compile(r"[^\S\u00a0\u2007\u202f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ZERO_WIDTH_JOINER = "\u200d"

_OPENING = "([{\"'¿¡«‹“‘„‚「『（《〈【"  # noqa: RUF001
_CLOSING = ")]}\"'»›”’“‘」』）》〉】"  # noqa: RUF001
_SENTENCE_MARKS = "!?…。！？｡．؟۔।॥։።។။"  # noqa: RUF001
_CLAUSE_MARKS = ",;:–—，、；：､،؛၊"  # noqa: RUF001
# Small kana, marks that repeat or lengthen, and the vowels of Thai and Lao that follow.
_NEVER_FIRST = frozenset("ーゝゞヽヾ々〻ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶะาำๅๆฯະາຳຽໆ")
# The vowels of Thai and Lao that are written before their consonant.
_NEVER_LAST = frozenset("เแโใไເແໂໃໄ")

_SPELT_SHORT = re.compile(r"[^\W\d_]{1,3}(\.[^\W\d_]{1,3})+|[^\W\d_]|\d{1,2}")
"""Without the last point: letters with points between ("z.B", "U.S"), initials, ordinals."""
_SHORTENED = {
    "approx", "bzw", "ca", "capt", "col", "dr", "evtl", "fr", "gen", "ggf", "gov", "hon", "hr",
    "inkl", "jr", "lt", "maj", "mgr", "mlle", "mme", "mr", "mrs", "ms", "mt", "prof", "rep", "rev",
    "sen", "sgt", "sr", "sra", "srta", "st", "ud", "uds", "vgl", "vs",
}  # fmt: skip
_SHORTENED_BEFORE_NUMBERS = {
    "apr", "art", "aug", "ch", "dec", "dez", "feb", "fig", "jan", "jul", "jun", "mar", "no", "nos",
    "nov", "nr", "oct", "okt", "pp", "sec", "sep", "sept", "vol",
}  # fmt: skip


def columns(text: str) -> int:
    """How wide ``text`` is."""
    from rich.cells import cell_len

    # Terminals squeeze a vowel sign of India's scripts into the cell of its consonant; where
    # lines are shown in any other font, it takes room of its own.
    return cell_len(text) + sum(category(char) == "Mc" for char in text)


def joined(texts: Iterable[str]) -> str:
    """Texts that follow one another as one: with spaces, but for Chinese and Japanese."""
    whole: list[str] = []
    for text in filter(None, map(str.strip, texts)):
        if whole and not all(_is_wide(c) and _has_no_spaces(c) for c in (whole[-1][-1], text[0])):
            whole.append(" ")
        whole.append(text)
    return "".join(whole)


def units(text: str, widest: int) -> list[Unit]:
    """What ``text`` is made of, white space and control characters left out.

    Only words wider than ``widest`` columns are taken apart; 2 is the least it may be. Every unit
    fits then. A text that shows nothing has none.
    """
    words = [word for word in _words(text, widest) if columns(word)]
    found: list[Unit] = []
    for i, word in enumerate(words):
        following = words[i + 1] if i + 1 < len(words) else ""
        found += _units_of(word, following, widest, spaced=i > 0)
    return found


def _words(text: str, widest: int) -> Iterator[str]:
    for raw in _SPACES.split(text):
        word = _CONTROL.sub("", raw).strip()
        # A no-break space holds together what fits on a line; elsewhere it would hang on an edge.
        yield from [word] if len(_parts(word, widest)) == 1 else word.split()


def _units_of(word: str, following: str, widest: int, *, spaced: bool) -> Iterator[Unit]:
    parts = _parts(word, widest)
    length = 0
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        length += len(part)
        # Words longer than this are no abbreviations.
        before = word[max(0, length - 24) : length]
        end = _between(before, following) if after is None else _inside(before, after)
        yield Unit(text=part, columns=columns(part), spaced=spaced, end=end)
        spaced = False


def _parts(word: str, widest: int) -> list[str]:
    """Characters of scripts without spaces, and what stands between them."""
    parts: list[str] = []
    for alone, run in groupby(_clusters(word), key=lambda cluster: _has_no_spaces(cluster[0])):
        clusters = list(run)
        whole = "".join(clusters)
        parts += clusters if alone or columns(whole) > widest else [whole]
    return parts


def _clusters(word: str) -> list[str]:
    """Characters with the marks that stand on them."""
    clusters: list[str] = []
    for char in word:
        if clusters and (category(char)[0] == "M" or category(char) == "Cf"):
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters


def _inside(before: str, after: str) -> Break:
    """What is between two parts of a word."""
    last, first = before[-1], after[0]
    if (
        (category(first) in ("Pe", "Pf", "Po") and first not in _OPENING)
        or category(last) in ("Ps", "Pi")
        or first in _NEVER_FIRST
        or last in _NEVER_LAST
        or last == _ZERO_WIDTH_JOINER
        or (first.isdigit() and re.search(r"\d\W?$", before))
        or not (_has_no_spaces(_base(before)) or _has_no_spaces(first))
    ):
        return Break.INSIDE
    return _between(before, after)


def _base(text: str) -> str:
    """The last character that is no mark on another one."""
    return next((c for c in reversed(text) if category(c)[0] != "M"), text[-1])


def _between(before: str, after: str) -> Break:
    """What is between two words, or a word and the end of the text."""
    ended = before.rstrip(_CLOSING)
    goes_on = after.lstrip(_OPENING)[:1].islower()
    if not after or not ended:
        return Break.WORD if after else Break.SENTENCE
    if ended[-1] in _SENTENCE_MARKS or ended.endswith(".."):
        return Break.CLAUSE if goes_on else Break.SENTENCE
    if ended[-1] == ".":
        return Break.WORD if goes_on or _is_short(ended, after) else Break.SENTENCE
    return Break.CLAUSE if ended[-1] in _CLAUSE_MARKS else Break.WORD


def _is_short(word: str, after: str) -> bool:
    """Whether the point behind ``word`` belongs to it: "Dr.", "z.B.", "J.", "3.", "No. 5"."""
    stem = word.lstrip(_OPENING)[:-1].casefold()
    return (
        _SPELT_SHORT.fullmatch(stem) is not None
        or stem in _SHORTENED
        or (stem in _SHORTENED_BEFORE_NUMBERS and after[0].isdigit())
    )


def _is_wide(char: str) -> bool:
    return east_asian_width(char) in "WF"


def _has_no_spaces(char: str) -> bool:
    """Whether words of the character's script stand side by side: Chinese, Japanese, Thai."""
    if "\u0e00" <= char <= "\u0eff" or "\u1000" <= char <= "\u109f" or "\u1780" <= char <= "\u17ff":
        # Thai, Lao, Burmese, Khmer; but a number is not taken apart.
        return not char.isdigit()
    is_hangul = (
        "\u1100" <= char <= "\u11ff"
        or "\u3130" <= char <= "\u318f"
        or ("\ua960" <= char <= "\ud7ff")
    )
    is_full_width_latin = east_asian_width(char) == "F" and char.isalnum()
    return _is_wide(char) and not is_hangul and not is_full_width_latin
