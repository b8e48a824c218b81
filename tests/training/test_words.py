"""What is said, how it is written, and which of it training never sees."""

from __future__ import annotations

import pytest

from training.seeds import generator
from training.words import german
from training.words.numbers import (
    digit_words,
    english_number,
    german_number,
    write_english,
    write_german,
)
from training.words.sentence import (
    LANGUAGES,
    is_held_out,
    numbers,
    random_words,
    sentence,
    spoken_words,
    word_alphabet,
)


@pytest.mark.parametrize("value", range(1000))
def test_english_numbers_are_written_as_they_are_spoken(value: int) -> None:
    assert write_english(english_number(value)) == str(value)


@pytest.mark.parametrize("value", range(100))
def test_german_numbers_are_written_as_they_are_spoken(value: int) -> None:
    assert write_german(german_number(value)) == str(value)


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("the code is six nine five eight seven", "the code is 6 9 5 8 7"),
        ("twenty three", "23"),
        ("three twenty", "3 20"),
        ("twenty zero", "20 0"),
        ("ten three", "10 3"),
        ("two hundred five", "205"),
        ("two hundred zero", "200 0"),
        ("two hundred forty three cats", "243 cats"),
        ("hundred five", "hundred 5"),
        ("one two hundred", "1 200"),
        ("thirteen hundred", "13 hundred"),
    ],
)
def test_english_number_words_become_the_longest_numbers(spoken: str, written: str) -> None:
    assert write_english(spoken.split()) == written


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("um ein und zwanzig uhr", "um 21 uhr"),
        ("ein hund und drei katzen", "ein hund und 3 katzen"),
        ("drei und fünf", "3 und 5"),
        ("eins und zwanzig", "1 und 20"),
        ("und zwanzig", "und 20"),
    ],
)
def test_german_units_come_before_the_tens(spoken: str, written: str) -> None:
    assert write_german(spoken.split()) == written


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_use_the_vocabulary_alone(language: str) -> None:
    words = set(spoken_words(language))
    rng = generator("test", language)
    for _ in range(500):
        said = sentence(rng, language)
        assert words.issuperset(said.spoken)
        assert "{" not in said.written + said.english
        assert said.written == said.written.lower()


def test_english_sentences_are_their_own_translation() -> None:
    said = sentence(generator("test"), "en")
    assert said.english == said.written


def test_a_german_sentence_has_an_english_one_with_its_numbers() -> None:
    rng = generator("test")
    for _ in range(500):
        said = sentence(rng, "de")
        assert said.english.isascii()
        numerals = [word for word in said.written.split() if word.isdigit()]
        assert numerals == [word for word in said.english.split() if word.isdigit()]


def test_articles_follow_gender_and_case() -> None:
    noun = german.Noun("hund", "m", "dog")
    assert f"{german.ACCUSATIVE[noun.gender]} {noun.german}" == "den hund"
    assert "im garten" in {phrase.spoken for phrase in german.SLOTS["in_room"]}
    assert "einen apfel" not in {phrase.spoken for phrase in german.SLOTS["an_animal"]}


@pytest.mark.parametrize("draw", [random_words, numbers])
def test_words_in_random_order_have_the_asked_count(draw) -> None:
    assert len(draw(generator("test"), "en", 9).spoken) == 9


def test_about_a_twentieth_is_held_out_by_its_text() -> None:
    rng = generator("test")
    share = sum(is_held_out(sentence(rng, "en")) for _ in range(4000)) / 4000
    assert 0.03 < share < 0.07


def test_the_same_seed_says_the_same() -> None:
    assert sentence(generator("a", 1), "de") == sentence(generator("a", 1), "de")


def test_the_alphabet_has_every_word_once() -> None:
    alphabet = word_alphabet()
    assert len(alphabet) == len(set(alphabet)) >= 450
    assert len(spoken_words("en")) >= 300
    assert len(spoken_words("de")) >= 120


@pytest.mark.parametrize(
    ("number", "spoken", "words"),
    [
        ("7", "seven", [0]),
        ("17", "seventeen", [0, 0]),
        ("70", "seventy", [0, 0]),
        ("73", "seventy three", [0, 1]),
        ("205", "two hundred five", [0, 1, 2]),
        ("212", "two hundred twelve", [0, 2, 2]),
        ("220", "two hundred twenty", [0, 2, 2]),
        ("228", "two hundred twenty eight", [0, 2, 3]),
        ("200", "two hundred", [0, 1, 1]),
        ("23", "drei und zwanzig", [2, 0]),
        ("30", "dreißig", [0, 0]),
    ],
)
def test_a_digit_is_heard_in_a_word(number: str, spoken: str, words: list[int]) -> None:
    assert digit_words(number, spoken.split()) == words
