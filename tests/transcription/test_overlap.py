"""Words that two pieces have heard stand in one of them."""

from __future__ import annotations

import random

import pytest

from gemma4cli.transcription.overlap import without_doubled

MOST = 6
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("one two three", "three four", ("one two three", "four")),
        ("one two three", "two three four", ("one two", "three four")),
        ("one two", "three four", ("one two", "three four")),
        ("one two", "two", ("one two", "")),
        ("two", "two three", ("two", "three")),
        ("", "one", ("", "one")),
        ("one", "", ("one", "")),
    ],
)
def test_what_is_doubled_is_said_once(before: str, after: str, expected: tuple[str, str]) -> None:
    assert without_doubled(before, after, MOST) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("Go to the store.", "To the store and buy", ("Go to the", "store and buy")),
        ("in Straßburg, you", "STRASSBURG, you know", ("in Straßburg,", "you know")),
        ("he said - “wait”", "- wait - for me", ("he said - “wait”", "for me")),
        ("it is \uff12\uff15", "is 25 now", ("it is", "25 now")),
    ],
)
def test_case_and_punctuation_do_not_matter(
    before: str, after: str, expected: tuple[str, str]
) -> None:
    assert without_doubled(before, after, MOST) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # The end of the text before is cut through or misheard.
        ("see an elephan", "elephant there", ("see an", "elephant there")),
        ("see an eleph", "an elephant there", ("see an", "elephant there")),
        ("see an e", "an elephant there", ("see an", "elephant there")),
        ("see an elevan", "an elephant there", ("see an", "elephant there")),
        ("I see an owl", "see an elephant there", ("I see an", "elephant there")),
        # So is the beginning of the text behind it.
        ("see an elephant", "phant there", ("see an elephant", "there")),
        ("see an elephant there", "phant there is", ("see an elephant", "there is")),
        ("see an elephant there now", "of there now is", ("see an elephant there", "now is")),
        # Both at once.
        ("see an elephant there tod", "phant there today", ("see an elephant there", "today")),
    ],
)
def test_a_word_is_kept_where_it_is_whole(
    before: str, after: str, expected: tuple[str, str]
) -> None:
    assert without_doubled(before, after, MOST) == expected


def test_a_word_in_the_middle_may_be_misheard() -> None:
    texts = without_doubled("the quick brown fox jumps", "brown box jumps over", MOST)
    assert texts == ("the quick brown fox", "jumps over")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("end of the house", "the garden is green"),
        ("we saw a", "an old man"),
        ("what he did", "is done"),
        ("come in", "out of the rain"),
    ],
)
def test_a_likeness_is_no_word_that_is_doubled(before: str, after: str) -> None:
    assert without_doubled(before, after, MOST) == (before, after)


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
def test_what_is_said_twice_stays(before: str, after: str, most: int, expected: str) -> None:
    assert " ".join(without_doubled(before, after, most)) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("我们去了商店。", "了商店,然后回家", "我们去了商店,然后回家"),
        ("今日は学校に行きま", "に行きました。", "今日は学校に行きました。"),
        ("ไปโรงเรียนวันนี้", "เรียนวันนี้ฝนตก", "ไปโรงเรียนวันนี้ฝนตก"),
        ("我在Google工作", "google工作了三年", "我在Google工作了三年"),
    ],
)
def test_characters_are_compared_where_nothing_parts_words(
    before: str, after: str, expected: str
) -> None:
    assert "".join(without_doubled(before, after, MOST)) == expected


def test_a_character_is_half_a_word() -> None:
    signs = "天地玄黄宇宙洪荒日月"
    assert "".join(without_doubled(signs, signs[2:] + "盈", 4)) == signs + "盈"
    assert without_doubled(signs, signs[2:] + "盈", 3) == (signs, signs[2:] + "盈")


# Any words


def different_words(rng: random.Random, count: int) -> list[str]:
    """Words of which no two begin or end alike."""
    heads, tails = rng.sample(range(26 * 26), count), rng.sample(range(26 * 26), count)

    def letters(number: int) -> str:
        return LETTERS[number // 26] + LETTERS[number % 26]

    return [f"{letters(a)}xx{letters(b)}" for a, b in zip(heads, tails, strict=True)]


def written(rng: random.Random, words: list[str]) -> str:
    """As a model may write them: a sentence, with commas where it likes."""
    commas = [word + rng.choice(["", "", ","]) for word in words]
    return " ".join(commas).capitalize() + rng.choice(["", "."])


def plain(*texts: str) -> list[str]:
    return " ".join(texts).lower().replace(",", "").replace(".", "").split()


@pytest.mark.parametrize("seed", range(50))
def test_any_words_come_back(seed: int) -> None:
    rng = random.Random(seed)
    words = different_words(rng, rng.randint(2, 14))
    shared = rng.randint(0, min(MOST, len(words)))
    cut = rng.randint(shared, len(words))
    before, after = written(rng, words[:cut]), written(rng, words[cut - shared :])
    assert plain(*without_doubled(before, after, MOST)) == words


@pytest.mark.parametrize("seed", range(50))
def test_any_words_come_back_whole(seed: int) -> None:
    """The cuts go through a word each, and the model hears a part of it or something else."""
    rng = random.Random(seed)
    words = different_words(rng, 14)
    shared = rng.randint(4, MOST)
    cut = rng.randint(shared + 1, len(words) - 1)
    left, right = words[:cut], words[cut - shared :]
    left[-1] = rng.choice([left[-1][: rng.randint(1, 5)], "qqqq"])
    right[0] = rng.choice([right[0][-rng.randint(1, 5) :], "zzzz"])
    before, after = written(rng, left), written(rng, right)
    assert plain(*without_doubled(before, after, MOST)) == words


@pytest.mark.parametrize("seed", range(20))
def test_repeated_words_are_never_lost(seed: int) -> None:
    """Of few words that come again and again, a doubled one may stay; none goes that was heard
    outside the overlap."""
    rng = random.Random(seed)
    words = [rng.choice(["no", "seven", "very"]) for _ in range(14)]
    before, after = words[:9], words[6:]
    texts = plain(*without_doubled(" ".join(before), " ".join(after), 3))
    assert texts[:6] == words[:6]
    assert texts[-5:] == words[-5:]
    assert len(texts) >= len(words)
