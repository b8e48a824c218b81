"""Where a text may be broken into lines, and how wide it is. Pure functions on strings.

Widths are in columns, as terminals count them: most characters take one, East Asian ones and emoji
two, and combining characters none, except spacing marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from unicodedata import category, east_asian_width

from ..languages import UNSPACED_LETTERS


class Break(IntEnum):
    """What a line break separates, from the best break to the worst.

    INSIDE is the middle of a word or of a number, or a break that the script forbids, such as
    before a full stop or after an opening bracket.
    """

    SENTENCE = 0
    CLAUSE = 1
    WORD = 2
    INSIDE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Text that stays on one line: a word, or one character of a script without spaces.

    ``spaced`` means that a space precedes it; ``end`` is what a break after it separates.
    """

    text: str
    columns: int
    spaced: bool
    end: Break


# No-break spaces join the words on both sides of them.
_SPACES = re.compile(r"[^\S\u00a0\u2007\u202f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ZERO_WIDTH_JOINER = "\u200d"
_SKIN_TONES = "\U0001f3fb-\U0001f3ff"
_FLAG_LETTERS = "\U0001f1e6-\U0001f1ff"
_SKIN_TONE = re.compile(f"[{_SKIN_TONES}]")
_FLAG_LETTER = re.compile(f"[{_FLAG_LETTERS}]")
_UNSPACED_LETTER = re.compile(f"[{UNSPACED_LETTERS}]")

_OPENING = "([{\"'¿¡«‹“‘„‚「『（《〈【"  # noqa: RUF001
_CLOSING = ")]}\"'»›”’“‘」』）》〉】"  # noqa: RUF001
_SENTENCE_MARKS = "!?…。！？｡．؟۔।॥։።។။"  # noqa: RUF001
_CLAUSE_MARKS = ",;:–—，、；：､،؛၊"  # noqa: RUF001
# Small kana, repetition and length marks, and the vowels of Thai and Lao that follow a consonant.
_NEVER_FIRST = frozenset(
    "ーゝゞヽヾ々〻ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶｧｨｩｪｫｬｭｮｯｰﾞﾟะาำๅๆฯະາຳຽໆ"
)
# The vowels of Thai and Lao that are written before their consonant.
_NEVER_LAST = frozenset("เแโใไເແໂໃໄ")
_TIBETAN = re.compile("[\u0f00-\u0fff]")
# Tibetan is broken after the marks that end a syllable or a phrase.
_TIBETAN_ENDS = frozenset("\u0f0b\u0f0d\u0f0e")

_ABBREVIATION = re.compile(r"[^\W\d_]{1,3}(\.[^\W\d_]{1,3})+|[^\W\d_]|\d{1,2}")
"""Without the last period: letters with periods between ("z.B", "U.S"), initials, ordinals."""
_ABBREVIATED = {
    "approx", "bzw", "ca", "capt", "col", "dr", "evtl", "fr", "gen", "ggf", "gov", "hon", "hr",
    "inkl", "jr", "lt", "maj", "mgr", "mlle", "mme", "mr", "mrs", "ms", "mt", "prof", "rep", "rev",
    "sen", "sgt", "sr", "sra", "srta", "st", "ud", "uds", "vgl", "vs",
}  # fmt: skip
_ABBREVIATED_BEFORE_NUMBERS = {
    "apr", "art", "aug", "ch", "dec", "dez", "feb", "fig", "jan", "jul", "jun", "mar", "no", "nos",
    "nov", "nr", "oct", "okt", "pp", "sec", "sep", "sept", "vol",
}  # fmt: skip


def columns(text: str) -> int:
    """The width of ``text``."""
    from rich.cells import cell_len

    # Terminals squeeze the vowel signs of Indic scripts into the cell of their consonant; in the
    # proportional fonts of subtitles, they take up space.
    return cell_len(text) + sum(category(char) == "Mc" for char in text)


def joined(texts: Iterable[str]) -> str:
    """Consecutive texts as one, with spaces between them except in Chinese and Japanese."""
    whole: list[str] = []
    for text in filter(None, map(str.strip, texts)):
        if whole and not all(_is_wide(c) and _is_unspaced(c) for c in (whole[-1][-1], text[0])):
            whole.append(" ")
        whole.append(text)
    return "".join(whole)


def units(text: str, widest: int) -> list[Unit]:
    """The units of ``text``, without white space and control characters.

    Only words wider than ``widest`` columns (at least 2) are split, so every unit fits. A text
    without visible characters has no units.
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
        # No-break spaces hold only if the words fit on one line; otherwise one could end a line.
        yield from [word] if len(_parts(word, widest)) == 1 else word.split()


def _units_of(word: str, following: str, widest: int, *, spaced: bool) -> Iterator[Unit]:
    parts = _parts(word, widest)
    length = 0
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        length += len(part)
        # No abbreviation is longer than this.
        before = word[max(0, length - 24) : length]
        end = _between(before, following) if after is None else _inside(before, after)
        yield Unit(text=part, columns=columns(part), spaced=spaced, end=end)
        spaced = False


def _parts(word: str, widest: int) -> list[str]:
    """Characters of scripts without spaces, and the runs of others between them."""
    parts: list[str] = []
    clusters = _clusters(word, widest)
    for alone, run in groupby(clusters, key=lambda cluster: _is_unspaced(cluster[0])):
        group = list(run)
        whole = "".join(group)
        parts += group if alone or columns(whole) > widest else [whole]
    return parts


def _clusters(word: str, widest: int) -> list[str]:
    """Characters with what belongs to them: marks, skin tones, the other emoji of a sequence.

    A cluster that would be wider than ``widest`` is split nevertheless.
    """
    clusters: list[str] = []
    for char in word:
        if clusters and _continues(clusters[-1], char) and columns(clusters[-1] + char) <= widest:
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters


def _continues(cluster: str, char: str) -> bool:
    """Whether a line may not break between a cluster and the next character."""
    if char.isascii():
        return False
    kind = category(char)
    return (
        kind[0] == "M"
        or kind == "Cf"
        or _SKIN_TONE.match(char) is not None
        # An emoji sequence such as a family; letters after a joiner may be parted.
        or (cluster[-1] == _ZERO_WIDTH_JOINER and kind == "So")
        or (_FLAG_LETTER.fullmatch(cluster) is not None and _FLAG_LETTER.match(char) is not None)
    )


def _inside(before: str, after: str) -> Break:
    """What a break between two parts of a word separates."""
    last, first = before[-1], after[0]
    if (
        (category(first) in ("Pe", "Pf", "Po") and first not in _OPENING)
        or category(last) in ("Ps", "Pi")
        or first in _NEVER_FIRST
        or last in _NEVER_LAST
        or last == _ZERO_WIDTH_JOINER
        or (first.isdigit() and re.search(r"\d\W?$", before))
        or (_TIBETAN.match(first) and last not in _TIBETAN_ENDS)
        or not (_is_unspaced(_base(before)) or _is_unspaced(first))
    ):
        return Break.INSIDE
    return _between(before, after)


def _base(text: str) -> str:
    """The last character that is not a combining mark."""
    return next((c for c in reversed(text) if category(c)[0] != "M"), text[-1])


def _between(before: str, after: str) -> Break:
    """What a break between two words, or after the last one, separates."""
    ended = before.rstrip(_CLOSING)
    continues = after.lstrip(_OPENING)[:1].islower()
    if not after or not ended:
        return Break.WORD if after else Break.SENTENCE
    if ended[-1] in _SENTENCE_MARKS or ended.endswith(".."):
        return Break.CLAUSE if continues else Break.SENTENCE
    if ended[-1] == ".":
        return Break.WORD if continues or _is_abbreviated(ended, after) else Break.SENTENCE
    return Break.CLAUSE if ended[-1] in _CLAUSE_MARKS else Break.WORD


def _is_abbreviated(word: str, after: str) -> bool:
    """Whether the period after ``word`` belongs to it: "Dr.", "z.B.", "J.", "3.", "No. 5"."""
    stem = word.lstrip(_OPENING)[:-1].casefold()
    return (
        _ABBREVIATION.fullmatch(stem) is not None
        or stem in _ABBREVIATED
        or (stem in _ABBREVIATED_BEFORE_NUMBERS and after[0].isdigit())
    )


def _is_wide(char: str) -> bool:
    return east_asian_width(char) in "WF"


def _is_unspaced(char: str) -> bool:
    """Whether a line may break beside the character without a space.

    Letters of scripts without spaces, and wide punctuation and emoji. Korean has spaces, and full
    width Latin letters and digits form words.
    """
    if _UNSPACED_LETTER.match(char):
        return True
    is_hangul = (
        "\u1100" <= char <= "\u11ff" or "\u3130" <= char <= "\u318f" or "\ua960" <= char <= "\ud7ff"
    )
    is_full_width_latin = east_asian_width(char) == "F" and char.isalnum()
    return _is_wide(char) and not is_hangul and not is_full_width_latin
