"""Bytes as text: every encoding that text comes in, and what is no text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import sample

from gemma4cli.plain_text import PlainText, decode_text

TEXTS = {
    "English": "diff --git a/x b/x\n+coffee\n",
    "German": "Grüße aus München, schöner Fluß.\n",
    "Russian": "Привет, мир. Как дела?\n",
    "Japanese": "日本語のテキスト、です。 はい\n",
    "emoji": "ok 🙂👍🏽 done\n",
    "empty": "",
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le")


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", UNICODE)
def test_unicode_is_read_with_and_without_a_mark(name: str, encoding: str) -> None:
    text = TEXTS[name] * 3
    assert decode_text(text.encode(encoding)) == PlainText(text=text)


def test_latin_text_is_read_with_a_notice() -> None:
    assert decode_text("“Grüße” \N{EN DASH} 5 €".encode("cp1252")) == PlainText(
        text="“Grüße” \N{EN DASH} 5 €", notice="6 bytes are not UTF-8; read as Windows-1252"
    )
    assert decode_text(b"caf\xe9") == PlainText(
        text="café", notice="1 byte is not UTF-8; read as Windows-1252"
    )


def test_stray_bytes_in_utf_8_are_replaced_with_a_notice() -> None:
    assert decode_text("schöne Grüße aus Köln\n".encode() * 2 + b"\xff!") == PlainText(
        text="schöne Grüße aus Köln\n" * 2 + "\ufffd!",
        notice="1 invalid UTF-8 sequence replaced by U+FFFD",
    )
    assert decode_text("half a 👍".encode()[:-1] + "éééé".encode()) == PlainText(
        text="half a \ufffdéééé", notice="1 invalid UTF-8 sequence replaced by U+FFFD"
    )


def test_line_ends_become_line_feeds() -> None:
    assert decode_text(b"a\r\nb\rc\n") == PlainText(text="a\nb\nc\n")


def test_colors_of_a_terminal_are_text() -> None:
    assert decode_text(b"\x1b[31mred\x1b[0m\tx\x0c\n") is not None


@pytest.mark.parametrize("name", ["image00.png", "speech00.wav", "video00.mp4"])
def test_media_are_not_text(name: str) -> None:
    assert decode_text(Path(sample(name)).read_bytes()) is None


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "gbk"])
def test_other_encodings_are_not_read_as_gibberish(encoding: str) -> None:
    assert decode_text((TEXTS["Russian"] * 5).encode(encoding)) is None


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Co"))))
def test_valid_utf_8_is_unchanged(text: str) -> None:
    text = text.removeprefix("\ufeff")
    assert decode_text(text.encode()) == PlainText(text=text)


@given(data=st.binary())
def test_any_bytes_are_text_or_not(data: bytes) -> None:
    found = decode_text(data)
    assert found is None or "\r" not in found.text
