"""Where texts may be broken into lines, and how wide they are."""

# ruff: noqa: RUF001  wide punctuation is meant

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.subtitles.line_breaks import Break, columns, joined, units

SENTENCE, CLAUSE, WORD, INSIDE = Break


def ends(text: str, widest: int = 42) -> dict[str, Break]:
    """What a break after each unit separates; all units of a text must differ."""
    return {unit.text: unit.end for unit in units(text, widest)}


def texts(text: str, widest: int = 42) -> list[str]:
    return [unit.text for unit in units(text, widest)]


def test_widths_in_columns() -> None:
    widths = {
        "abc": 3,
        "中文": 4,
        "한국": 4,
        "ｱ": 1,
        "é": 1,
        "e\u0301": 1,
        "วันนี้": 3,
        "\u200b": 0,
        "\u1112\u1161\u11ab": 2,
        "हिन्दी": 5,
        "👍": 2,
        "👍🏽": 2,
        "❤\ufe0f": 2,
        "👨\u200d👩\u200d👧": 2,
        "🇩🇪": 2,
    }
    assert {text: columns(text) for text in widths} == widths


def test_ends_of_sentences() -> None:
    last_words = {
        "It ended. Then": "ended.",
        "Really? Yes": "Really?",
        "He said “so.” Then": "“so.”",
        "(It ended.) Then": "ended.)",
        "Well... Then": "Well...",
        "It cost 10,000. Then": "10,000.",
        "In 1999. Then": "1999.",
        "No. But": "No.",
        "Look at example.org. Then": "example.org.",
        "¿Sí? ¡No!": "¿Sí?",
        "यह घर है। वह": "है।",
        "هل هذا؟ نعم": "هذا؟",
    }
    wrong = {text: ends(text) for text, word in last_words.items() if ends(text)[word] != SENTENCE}
    assert wrong == {}


def test_periods_that_do_not_end_a_sentence() -> None:
    words = {
        "Mr. Smith": "Mr.",
        "(Dr. Smith)": "(Dr.",
        "J. Smith": "J.",
        "the U.S. Army": "U.S.",
        "z.B. Berlin": "z.B.",
        "am 3. Oktober": "3.",
        "No. 5": "No.",
        "Jan. 5": "Jan.",
        "approx. ten": "approx.",
        "etc. and": "etc.",
    }
    wrong = {text: ends(text) for text, word in words.items() if ends(text)[word] != WORD}
    assert wrong == {}


def test_a_number_is_one_word() -> None:
    for number in ("3.5", "10,000", "10:30", "1.000.000,5"):
        assert ends(f"about {number} people") == {"about": WORD, number: WORD, "people": SENTENCE}


def test_ends_of_clauses() -> None:
    for word in ("so,", "so;", "so:", "so –", "“so,”", "he،"):
        assert ends(f"{word} Then")[word.split()[-1]] is CLAUSE


def test_a_question_before_a_lower_case_letter_ends_a_clause() -> None:
    assert ends("“What?” he said")["“What?”"] is CLAUSE


def test_the_end_of_the_text_ends_a_sentence() -> None:
    assert ends("one two") == {"one": WORD, "two": SENTENCE}


def test_only_a_word_longer_than_a_line_is_split() -> None:
    assert texts("abcd efghi jk", widest=4) == ["abcd", "e", "f", "g", "h", "i", "jk"]
    assert ends("efghi jk", widest=4) == {
        **dict.fromkeys("efgh", INSIDE),
        "i": WORD,
        "jk": SENTENCE,
    }


def test_words_are_preceded_by_a_space_and_their_parts_are_not() -> None:
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


def test_brackets_stay_with_their_contents() -> None:
    assert ends("说「好。」他") == {
        "说": WORD,
        "「": INSIDE,
        "好": INSIDE,
        "。": INSIDE,
        "」": SENTENCE,
        "他": SENTENCE,
    }


def test_small_kana_and_length_marks_never_start_a_line() -> None:
    assert ends("ちょっとサー") == {
        "ち": INSIDE,
        "ょ": INSIDE,
        "っ": WORD,
        "と": WORD,
        "サ": INSIDE,
        "ー": SENTENCE,
    }


def test_wide_numbers_are_not_split() -> None:
    assert ends("約３０，５００円")["３０"] is INSIDE
    assert ends("約３０，５００円")["，"] is INSIDE
    assert ends("約３０円")["３０"] is WORD


def test_latin_words_in_japanese_stay_whole() -> None:
    assert texts("このGPUは3.5倍") == ["こ", "の", "GPU", "は", "3.5", "倍"]


def test_korean_is_broken_at_spaces() -> None:
    assert texts("안녕하세요 저는") == ["안녕하세요", "저는"]


def test_combining_marks_stay_with_their_characters() -> None:
    assert texts("นี้") == ["นี้"]
    assert texts("e\u0301e\u0301", widest=2) == ["e\u0301e\u0301"]
    assert texts("e\u0301e\u0301e", widest=2) == ["e\u0301", "e\u0301", "e"]


def test_thai_vowels_stay_with_their_consonants() -> None:
    assert ends("ไปทำ") == {"ไ": INSIDE, "ป": WORD, "ท": INSIDE, "ำ": SENTENCE}


def test_tibetan_is_broken_between_syllables() -> None:
    assert ends("བཀྲ་ཤིས།") == {
        "བ": INSIDE,
        "ཀྲ": INSIDE,
        "་": WORD,
        "ཤི": INSIDE,
        "ས": INSIDE,
        "།": SENTENCE,
    }


def test_half_width_japanese_is_broken_like_full_width() -> None:
    assert ends("ｱｯﾌﾟﾙ") == {"ｱ": INSIDE, "ｯ": WORD, "ﾌ": INSIDE, "ﾟ": WORD, "ﾙ": SENTENCE}


EMOJI = [
    "👍🏽",
    "👨\u200d👩\u200d👧",
    "🏃🏽\u200d♂\ufe0f",
    "🇩🇪",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "🎉",
    "☝🏿",
]


def test_an_emoji_is_never_broken() -> None:
    for emoji in EMOJI:
        assert texts(emoji, widest=2) == [emoji]


@given(st.lists(st.sampled_from(EMOJI), min_size=1))
def test_emoji_without_spaces_are_broken_only_between_them(emoji: list[str]) -> None:
    breaks = set(accumulate(map(len, texts("".join(emoji), widest=2))))
    assert breaks <= set(accumulate(map(len, emoji)))


@given(
    text=st.text(st.sampled_from("a中👍🏽🇩🇪❤\u200d\ufe0f\u0301िै \u00a0")), widest=st.integers(2, 5)
)
def test_every_unit_fits_on_a_line(text: str, widest: int) -> None:
    found = units(text, widest)
    assert all(unit.columns == columns(unit.text) <= widest for unit in found)


def test_no_break_spaces_do_not_break_a_word() -> None:
    for space in ("\u00a0", "\u202f", "\u2007"):
        assert texts(f"10{space}000 mots{space}! ") == [f"10{space}000", f"mots{space}!"]


def test_a_no_break_space_breaks_words_that_do_not_fit_together() -> None:
    assert texts("ab\u00a0cd", widest=4) == ["ab", "cd"]
    assert texts("我\u00a0们") == ["我", "们"]


def test_a_text_without_visible_characters_has_no_units() -> None:
    invisible = ["", " \n\t", "\x00\x1b", "\u00a0", "\u200b \u200d"]
    assert [units(text, 42) for text in invisible] == [[]] * len(invisible)


def test_control_characters_are_removed() -> None:
    assert texts("a\x00b\x1b[1m\x85c\u2028d\r\ne") == ["ab[1m", "c", "d", "e"]


def test_joined_texts_have_spaces_between_them_except_in_chinese_and_japanese() -> None:
    assert joined(["One.", "", " Two ", "three"]) == "One. Two three"
    assert joined(["你好。", "再见", "GPU", "很好"]) == "你好。再见 GPU 很好"
    assert joined(["สวัสดี", "ครับ"]) == "สวัสดี ครับ"
    assert joined(["안녕", "하세요"]) == "안녕 하세요"
    assert joined([]) == ""
