"""Bytes of files and pipes as text: whether they are text, and in which encoding."""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""UTF-32 first: in little endian its mark begins with that of UTF-16."""

_SAMPLE = 1 << 16
"""Characters or bytes by which an encoding is judged."""

_MOST_CONTROLS = 0.02
"""The share of control characters above which content is not text."""

_MOST_HIGH_BYTES, _FEW_BYTES = 0.4, 8
"""In text of a Latin script few letters have accents; more such bytes are another encoding."""

_MOST_STRAY_BYTES = 0.25
"""Of the bytes beyond ASCII in a UTF-8 text, those that are not UTF-8; of more, it is another."""

_LAYOUT = "\t\n\r\f\b\x1b"
"""Control characters that texts have: tabs, line ends, pages, and colors of terminals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainText:
    """Text with "\\n" at line ends. ``notice`` says how it differs from the bytes, if it does."""

    text: str
    notice: str | None = None


def decode_text(data: bytes) -> PlainText | None:
    """The text in ``data``; None if it is no text, or in an encoding that is not known.

    UTF-8, UTF-16 and UTF-32 with and without a byte order mark are read, Windows-1252 (with it
    Latin-1) where the bytes are not UTF-8. What cannot be decoded becomes U+FFFD.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    found = _decoded(data, "utf-8")
    if found is None and b"\0" in data and (wide := _wide_encoding(data)) is not None:
        return _decoded(data, wide)
    high, stray = _high_bytes(data)
    if stray < _MOST_STRAY_BYTES * high or not stray:
        return found
    latin = data.decode("cp1252", "replace").replace("\ufffd", "?")
    if high > max(_FEW_BYTES, _MOST_HIGH_BYTES * len(data)) or not _is_text(latin, 0):
        return found if 3 * stray < high else None
    count = "1 byte is" if stray == 1 else f"{stray:,} bytes are"
    return PlainText(
        text=_with_line_feeds(latin), notice=f"{count} not UTF-8; read as Windows-1252"
    )


def _decoded(data: bytes, encoding: str) -> PlainText | None:
    text = data.decode(encoding, "replace")
    replaced = text.count("\ufffd")
    if replaced:
        replaced -= data.count("\ufffd".encode(encoding))
    if not _is_text(text, replaced):
        return None
    nulls = text.count("\0")
    text = _with_line_feeds(text.replace("\0", "\ufffd"))
    name = encoding[:6].rstrip("-").upper()
    problems = [
        f"{count:,} {what}{'' if count == 1 else 's'}"
        for count, what in ((replaced, f"invalid {name} sequence"), (nulls, "null character"))
        if count
    ]
    return PlainText(
        text=text, notice=f"{' and '.join(problems)} replaced by U+FFFD" if problems else None
    )


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_text(text: str, replaced: int) -> bool:
    sample = text[:_SAMPLE]
    controls = sum(
        character not in _LAYOUT and unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")
        for character in sample
    )
    limit = max(1, _MOST_CONTROLS * len(sample))
    return controls <= limit and (replaced == 0 or replaced < len(text) / 2)


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by where the null bytes of ASCII characters are."""
    sample = data[: _SAMPLE - _SAMPLE % 4]
    for encoding, width in (
        ("utf-32-le", 4),
        ("utf-32-be", 4),
        ("utf-16-le", 2),
        ("utf-16-be", 2),
    ):
        whole = sample[: len(sample) - len(sample) % width]
        try:
            text = whole.decode(encoding)
        except UnicodeDecodeError:
            continue
        common = sum(
            character.isascii() or unicodedata.category(character)[0] in "LMNPSZ"
            for character in text
        )
        ascii_share = sum(character.isascii() and character != "\0" for character in text)
        if text and common > 0.98 * len(text) and 20 * ascii_share > len(text) and "\0" not in text:
            return encoding
    return None


def _high_bytes(data: bytes) -> tuple[int, int]:
    """How many bytes are not ASCII, and how many of them are not part of UTF-8 characters."""
    high = len(data.translate(None, bytes(range(0x80))))
    valid = data.decode("utf-8", "ignore").encode()
    return high, high - len(valid.translate(None, bytes(range(0x80))))
