"""Where texts may be broken, and their widths."""

# ruff: noqa: RUF001  wide punctuation is meant

from __future__ import annotations

import pytest

from gemma4cli.subtitles.line_breaks import Break, columns, joined, units

SENTENCE, CLAUSE, WORD, INSIDE = Break


def ends(text: str, widest: int = 42) -> dict[str, Break]:
    """What a break behind each unit parts; units of a text here differ from each other."""
    return {unit.text: unit.end for unit in units(text, widest)}


def texts(text: str, widest: int = 42) -> list[str]:
    return [unit.text for unit in units(text, widest)]


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("中文", 4),
        ("한국", 4),
        ("ｱ", 1),
        ("é", 1),
        ("e\u0301", 1),
        ("วันนี้", 3),
        ("\u200b", 0),
        ("\u1112\u1161\u11ab", 2),
        ("हिन्दी", 5),
        ("👍", 2),
        ("👍🏽", 2),
        ("❤\ufe0f", 2),
        ("👨\u200d👩\u200d👧", 2),
        ("🇩🇪", 2),
    ],
)
def test_columns(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("It ended. Then", "ended."),
        ("Really? Yes", "Really?"),
        ("He said “so.” Then", "“so.”"),
        ("(It ended.) Then", "ended.)"),
        ("Well... Then", "Well..."),
        ("It cost 10,000. Then", "10,000."),
        ("In 1999. Then", "1999."),
        ("No. But", "No."),
        ("Look at example.org. Then", "example.org."),
        ("¿Sí? ¡No!", "¿Sí?"),
        ("यह घर है। वह", "है।"),
        ("هل هذا؟ نعم", "هذا؟"),
    ],
)
def test_end_of_a_sentence(text: str, last: str) -> None:
    assert ends(text)[last] is SENTENCE


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Mr. Smith", "Mr."),
        ("(Dr. Smith)", "(Dr."),
        ("J. Smith", "J."),
        ("the U.S. Army", "U.S."),
        ("z.B. Berlin", "z.B."),
        ("am 3. Oktober", "3."),
        ("No. 5", "No."),
        ("Jan. 5", "Jan."),
        ("approx. ten", "approx."),
        ("etc. and", "etc."),
    ],
)
def test_point_that_ends_no_sentence(text: str, word: str) -> None:
    assert ends(text)[word] is WORD


@pytest.mark.parametrize("number", ["3.5", "10,000", "10:30", "1.000.000,5"])
def test_number_is_one_word_without_an_end(number: str) -> None:
    assert ends(f"about {number} people")[number] is WORD


@pytest.mark.parametrize("word", ["so,", "so;", "so:", "so –", "“so,”", "he،"])
def test_end_of_a_clause(word: str) -> None:
    assert ends(f"{word} Then")[word.split()[-1]] is CLAUSE


def test_question_that_goes_on_ends_a_clause() -> None:
    assert ends("“What?” he said")["“What?”"] is CLAUSE


def test_text_ends_a_sentence() -> None:
    assert ends("one two") == {"one": WORD, "two": SENTENCE}


def test_only_a_long_word_is_taken_apart() -> None:
    assert texts("abcd efghi jk", widest=4) == ["abcd", "e", "f", "g", "h", "i", "jk"]
    assert ends("efghi jk", widest=4) == {
        **dict.fromkeys("efgh", INSIDE),
        "i": WORD,
        "jk": SENTENCE,
    }


def test_spaces_stand_before_words_and_not_before_parts() -> None:
    found = units(" 中国 ab abcde", 4)
    assert "".join(unit.text for unit in found if unit.spaced) == "aba"


def test_chinese_is_broken_between_characters() -> None:
    assert ends("我们去，好。他说") == {
        "我": WORD,
        "们": WORD,
        "去": INSIDE,
        "，": CLAUSE,
        "好": INSIDE,
        "。": SENTENCE,
        "他": WORD,
        "说": SENTENCE,
    }


def test_brackets_stay_with_what_they_hold() -> None:
    assert ends("说「好。」他") == {
        "说": WORD,
        "「": INSIDE,
        "好": INSIDE,
        "。": INSIDE,
        "」": SENTENCE,
        "他": SENTENCE,
    }


def test_small_kana_and_long_vowels_begin_no_line() -> None:
    assert ends("ちょっとサー") == {
        "ち": INSIDE,
        "ょ": INSIDE,
        "っ": WORD,
        "と": WORD,
        "サ": INSIDE,
        "ー": SENTENCE,
    }


def test_wide_numbers_are_not_taken_apart() -> None:
    assert ends("約３０，５００円")["３０"] is INSIDE
    assert ends("約３０，５００円")["，"] is INSIDE
    assert ends("約３０円")["３０"] is WORD


def test_latin_words_in_japanese_stay_whole() -> None:
    assert texts("このGPUは3.5倍") == ["こ", "の", "GPU", "は", "3.5", "倍"]


def test_korean_is_broken_at_spaces() -> None:
    assert texts("안녕하세요 저는") == ["안녕하세요", "저는"]


def test_marks_stay_on_their_characters() -> None:
    assert texts("นี้") == ["นี้"]
    assert texts("e\u0301e\u0301", widest=2) == ["e\u0301e\u0301"]
    assert texts("e\u0301e\u0301e", widest=2) == ["e\u0301", "e\u0301", "e"]


def test_thai_vowels_stay_with_their_consonants() -> None:
    assert ends("ไปทำ") == {"ไ": INSIDE, "ป": WORD, "ท": INSIDE, "ำ": SENTENCE}


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u2007"])
def test_no_break_spaces_break_no_word(space: str) -> None:
    assert texts(f"10{space}000 mots{space}! ") == [f"10{space}000", f"mots{space}!"]


def test_no_break_space_gives_way_where_its_words_are_no_unit() -> None:
    assert texts("ab\u00a0cd", widest=4) == ["ab", "cd"]
    assert texts("我\u00a0们") == ["我", "们"]


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x1b", "\u00a0", "\u200b \u200d"])
def test_text_that_shows_nothing(text: str) -> None:
    assert units(text, 42) == []


def test_control_characters_are_left_out() -> None:
    assert texts("a\x00b\x1b[1m\x85c\u2028d\r\ne") == ["ab[1m", "c", "d", "e"]


def test_joined() -> None:
    assert joined(["One.", "", " Two ", "three"]) == "One. Two three"
    assert joined(["你好。", "再见", "GPU", "很好"]) == "你好。再见 GPU 很好"
    assert joined(["สวัสดี", "ครับ"]) == "สวัสดี ครับ"
    assert joined(["안녕", "하세요"]) == "안녕 하세요"
    assert joined([]) == ""
