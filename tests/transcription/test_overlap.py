"""Words that two overlapping pieces share appear once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.transcription.overlap import without_repeated_words

MOST = 6
_ENDS = [a + b for a in "abcdef" for b in "abcdef"]
DISTINCT = [f"{head}xx{tail}" for head, tail in zip(_ENDS, _ENDS[7:] + _ENDS[:7], strict=True)]

Pair = tuple[str, str]


def unexpected(cases: dict[Pair, Pair]) -> dict[Pair, Pair]:
    """The results that differ from the expected ones."""
    results = {pair: without_repeated_words(*pair, MOST) for pair in cases}
    return {pair: result for pair, result in results.items() if result != cases[pair]}


def test_repeated_words_are_removed_from_one_text() -> None:
    assert not unexpected(
        {
            ("one two three", "three four"): ("one two three", "four"),
            ("one two three", "two three four"): ("one two", "three four"),
            ("one two", "three four"): ("one two", "three four"),
            ("one two", "two"): ("one two", ""),
            ("two", "two three"): ("two", "three"),
            ("", "one"): ("", "one"),
            ("one", ""): ("one", ""),
        }
    )


def test_case_width_and_punctuation_do_not_matter() -> None:
    assert not unexpected(
        {
            ("Go to the store.", "To the store and buy"): ("Go to the", "store and buy"),
            ("in Straßburg, you", "STRASSBURG, you know"): ("in Straßburg,", "you know"),
            ("he said - “wait”", "- wait - for me"): ("he said - “wait”", "for me"),
            ("it is \uff12\uff15", "is 25 now"): ("it is", "25 now"),
        }
    )


def test_the_text_that_has_a_word_whole_keeps_it() -> None:
    assert not unexpected(
        {
            # The first text ends in a word that is cut off or misheard.
            ("see an elephan", "elephant there"): ("see an", "elephant there"),
            ("see an eleph", "an elephant there"): ("see an", "elephant there"),
            ("see an e", "an elephant there"): ("see an", "elephant there"),
            ("see an elevan", "an elephant there"): ("see an", "elephant there"),
            ("I see an owl", "see an elephant there"): ("I see an", "elephant there"),
            # The second text starts with one.
            ("see an elephant", "phant there"): ("see an elephant", "there"),
            ("see an elephant there", "phant there is"): ("see an elephant", "there is"),
            ("see an elephant there now", "of there now is"): ("see an elephant there", "now is"),
            # Both.
            ("see an elephant there tod", "phant there today"): (
                "see an elephant there",
                "today",
            ),
        }
    )


def test_a_word_in_the_middle_may_be_misheard() -> None:
    texts = without_repeated_words("the quick brown fox jumps", "brown box jumps over", MOST)
    assert texts == ("the quick brown fox", "jumps over")


def test_words_that_are_merely_similar_are_kept() -> None:
    similar = [
        ("end of the house", "the garden is green"),
        ("we saw a", "an old man"),
        ("what he did", "is done"),
        ("come in", "out of the rain"),
    ]
    assert not unexpected({pair: pair for pair in similar})


@pytest.mark.parametrize(
    ("before", "after", "most", "expected"),
    [
        ("it was very very", "very good", MOST, "it was very very good"),
        ("it was very very", "very very good", MOST, "it was very very good"),
        ("it was very ver", "very very good", MOST, "it was very very good"),
        ("call 7 7 7", "7 7 5", MOST, "call 7 7 7 5"),
        ("7 7 7 7", "7 7 7 7", 2, "7 7 7 7 7 7"),
        ("no no", "no no", 0, "no no no no"),
    ],
)
def test_words_that_were_spoken_twice_are_kept(
    before: str, after: str, most: int, expected: str
) -> None:
    assert " ".join(without_repeated_words(before, after, most)) == expected


def test_scripts_without_spaces_are_compared_by_character() -> None:
    cases = {
        ("我们去了商店。", "了商店,然后回家"): "我们去了商店,然后回家",
        ("今日は学校に行きま", "に行きました。"): "今日は学校に行きました。",
        ("ไปโรงเรียนวันนี้", "เรียนวันนี้ฝนตก"): "ไปโรงเรียนวันนี้ฝนตก",
        ("我在Google工作", "google工作了三年"): "我在Google工作了三年",
        ("ในปี๒๕๖๗ฝนตก", "๒๕๖๗ฝนตกหนัก"): "ในปี๒๕๖๗ฝนตกหนัก",
    }
    assert {pair: "".join(without_repeated_words(*pair, MOST)) for pair in cases} == cases


def test_a_character_counts_as_half_a_word() -> None:
    text = "天地玄黄宇宙洪荒日月"
    assert "".join(without_repeated_words(text, text[2:] + "盈", 4)) == text + "盈"
    assert without_repeated_words(text, text[2:] + "盈", 3) == (text, text[2:] + "盈")


# Any words


def distinct_words(least: int, most: int) -> st.SearchStrategy[list[str]]:
    """Words of which no two start or end with the same two letters."""
    return st.lists(st.sampled_from(DISTINCT), min_size=least, max_size=most, unique=True)


@st.composite
def sentence(draw: st.DrawFn, words: list[str]) -> str:
    """The words as a model may write them: capitalized, with commas and a period."""
    marks = draw(st.integers(0, 2**15 - 1))
    text = " ".join(word + "," * (marks >> i & 1) for i, word in enumerate(words))
    return text.capitalize() + "." * (marks >> 14)


def plain(*texts: str) -> list[str]:
    return " ".join(texts).lower().replace(",", "").replace(".", "").split()


@given(words=distinct_words(2, 14), data=st.data())
def test_any_distinct_words_come_back(words: list[str], data: st.DataObject) -> None:
    shared = data.draw(st.integers(0, min(MOST, len(words))), label="shared")
    cut = data.draw(st.integers(shared, len(words)), label="cut")
    before = data.draw(sentence(words[:cut]))
    after = data.draw(sentence(words[cut - shared :]))
    assert plain(*without_repeated_words(before, after, MOST)) == words


@given(words=distinct_words(14, 14), data=st.data())
def test_words_that_the_cuts_go_through_come_back_whole(
    words: list[str], data: st.DataObject
) -> None:
    """The model hears a fragment of them, or something else."""
    shared = data.draw(st.integers(4, MOST), label="shared")
    cut = data.draw(st.integers(shared + 1, len(words) - 1), label="cut")
    left, right = words[:cut], words[cut - shared :]
    lengths = st.integers(1, 5)
    left[-1] = data.draw(st.sampled_from([left[-1][: data.draw(lengths)], "qqqq"]))
    right[0] = data.draw(st.sampled_from([right[0][-data.draw(lengths) :], "zzzz"]))
    before, after = data.draw(sentence(left)), data.draw(sentence(right))
    assert plain(*without_repeated_words(before, after, MOST)) == words


@given(st.lists(st.sampled_from(["no", "seven", "very"]), min_size=14, max_size=14))
def test_words_outside_the_overlap_are_never_lost(words: list[str]) -> None:
    """Of few words that recur, a repeated one may stay, but none is removed by mistake."""
    before, after = words[:9], words[6:]
    texts = plain(*without_repeated_words(" ".join(before), " ".join(after), 3))
    assert texts[:6] == words[:6]
    assert texts[-5:] == words[-5:]
    assert len(texts) >= len(words)


@given(before=st.text(), after=st.text(), most=st.integers(0, 20))
def test_any_texts_are_only_shortened_at_the_cut(before: str, after: str, most: int) -> None:
    left, right = without_repeated_words(before, after, most)
    assert before.startswith(left)
    assert after.endswith(right)
    assert without_repeated_words(before, after, 0) == (before, after)
