"""Endless repetition is detected, and ordinary text is not mistaken for it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.engine.repetition import is_repeating, without_loop


def first_detected(cycle: list[int], limit: int = 600) -> int | None:
    """After how many tokens of an endlessly repeated cycle it is detected."""
    ids = [cycle[i % len(cycle)] for i in range(limit)]
    return next((end for end in range(1, limit + 1) if is_repeating(ids[:end])), None)


def test_every_cycle_is_detected_after_six_repeats_and_at_least_128_tokens() -> None:
    detected = {length: first_detected(list(range(length))) for length in range(1, 65)}
    assert detected == {length: max(128, 6 * length) for length in range(1, 65)}


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), min_size=1))
def test_any_cycle_of_up_to_64_tokens_is_detected_after_any_text(
    text: list[int], cycle: list[int]
) -> None:
    cycle = cycle[:64]
    assert is_repeating(text + cycle * max(6, -(-128 // len(cycle))))


def test_a_cycle_that_begins_late_is_detected() -> None:
    before = list(range(300))
    assert is_repeating(before + [7, 8, 9] * 43)
    assert not is_repeating(before + [7, 8, 9] * 42)


def test_longer_cycles_are_not_detected() -> None:
    assert first_detected(list(range(65))) is None


def test_one_wrong_token_interrupts_a_cycle() -> None:
    ids = [1, 2] * 80
    ids[-50] = 3
    assert not is_repeating(ids)


@pytest.mark.parametrize(
    "ids",
    [
        [],
        [5],
        [5] * 127,
        list(range(2000)),
        [5] * 100 + [6] * 100,  # two ruled lines
        [i // 2 for i in range(1000)],  # counting
        [part for i in range(60) for part in (1, 2, 3, i, 4)],  # a table: rows differ by a number
        [*range(40), *range(40), *range(40)],  # a refrain
    ],
    ids=["nothing", "one", "short run", "no cycle", "lines", "counting", "table", "refrain"],
)
def test_ordinary_text_is_not_a_repetition(ids: list[int]) -> None:
    assert not any(is_repeating(ids[:end]) for end in range(0, len(ids) + 1, 7))
    assert not is_repeating(ids)


@given(st.integers(0, 2**32))
def test_random_text_of_a_small_vocabulary_is_not_a_repetition(seed: int) -> None:
    random = Random(seed)
    assert not is_repeating([random.randrange(3) for _ in range(400)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("the cat sat", "the cat sat"),
        ("no no", "no no"),
        ("so we we we we", "so we"),
        ("a red ball a red ball a red ball", "a red ball"),
        ("see a red ball a red ball a red ball a red", "see a red ball"),
        ("7 7 7 and 8", "7 7 7 and 8"),
        ("one two one two one two one", "one two"),
    ],
)
def test_a_loop_of_words_is_trimmed_to_one_occurrence(text: str, expected: str) -> None:
    assert without_loop(text) == expected


def test_a_loop_of_40_words_is_trimmed() -> None:
    words = [f"w{n}" for n in range(40)]
    assert without_loop(" ".join(["before", *words * 3, *words[:7]])) == " ".join(
        ["before", *words]
    )
