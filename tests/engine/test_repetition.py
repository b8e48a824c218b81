"""Endless repetition is noticed, and what people write is not taken for it."""

from __future__ import annotations

import random

import pytest

from gemma4cli.engine.repetition import is_repeating, without_loop


def first_noticed(cycle: list[int], limit: int = 600) -> int | None:
    """After how many tokens of an endlessly said cycle it is noticed."""
    said: list[int] = []
    for i in range(limit):
        said.append(cycle[i % len(cycle)])
        if is_repeating(said):
            return len(said)
    return None


@pytest.mark.parametrize("length", range(1, 65))
def test_every_cycle_is_noticed(length: int) -> None:
    """After six rounds, and after 128 tokens at least."""
    noticed = first_noticed([1000 + i for i in range(length)])
    assert noticed == max(128, 6 * length)


def test_cycle_that_begins_late_is_noticed() -> None:
    before = list(range(300))
    assert is_repeating(before + [7, 8, 9] * 43)
    assert not is_repeating(before + [7, 8, 9] * 42)


def test_longer_cycles_are_let_be() -> None:
    assert first_noticed(list(range(65))) is None


def test_one_token_out_of_place_ends_a_cycle() -> None:
    said = [1, 2] * 80
    said[-50] = 3
    assert not is_repeating(said)


@pytest.mark.parametrize(
    "said",
    [
        [],
        [5],
        [5] * 127,
        list(range(2000)),
        [5] * 100 + [6] * 100,  # a ruled line, and another
        [i // 2 for i in range(1000)],  # counting
        [part for i in range(60) for part in (1, 2, 3, i, 4)],  # a table: rows differ by a number
        [*range(40), *range(40), *range(40)],  # a refrain
    ],
    ids=["nothing", "one", "short run", "no cycle", "lines", "counting", "table", "refrain"],
)
def test_legitimate_text(said: list[int]) -> None:
    assert not any(is_repeating(said[:end]) for end in range(0, len(said) + 1, 7))
    assert not is_repeating(said)


def test_random_text_of_a_small_vocabulary() -> None:
    rng = random.Random(1)
    said = [rng.randrange(3) for _ in range(3000)]
    assert not any(is_repeating(said[:end]) for end in range(0, 3000, 11))


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
def test_a_loop_is_said_once(text: str, expected: str) -> None:
    assert without_loop(text) == expected


def test_a_long_loop_is_found() -> None:
    words = [f"w{n}" for n in range(40)]
    assert without_loop(" ".join(["before", *words * 3, *words[:7]])) == " ".join(
        ["before", *words]
    )
