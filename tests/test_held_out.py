"""What the built-in model answers to pictures, sounds and clips that it was not trained on.

Its answers have to be the reference implementation's, and as many of them right as docs/tiny.md
says, less what chance may do to sets as small as these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from answered import FIXTURES, Answered, Asked, answered
from quantised_checkpoints import Kind, quantise_checkpoint

import gemma4cli
from gemma4cli.engine.model import LoadedModel
from gemma4cli.options import LoadOptions

TINY = answered(FIXTURES / "held_out" / "tiny.json")
QUICK = [each for each in TINY if each.case.budget is None]
LARGE = [each for each in TINY if each.case.budget is not None]
"""Budgets that take seconds each on a CPU: one of ten is asked for."""
FLOORS: Mapping[str, float] = {
    "speech": 0.95,
    "pictures": 0.6,
    "questions": 0.8,
    "picture and spoken question": 0.3,
    "video": 0.65,
    "video with speech": 0.4,
    "talk": 0.95,
}
"""Of each part the least share of words, events or answers that has to be right."""
QUANTISED_FLOORS: Mapping[int, float] = {8: 0.75, 4: 0.65}
"""The same as a mean over all parts, for every other case, by bits."""


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked(gemma4cli.load("tiny", options=LoadOptions(dtype="float32")))


@pytest.mark.parametrize("held_out", [*QUICK, *LARGE[::10]], ids=str)
def test_answer_is_the_references(asked: Asked, held_out: Answered) -> None:
    assert asked.answer(held_out) == held_out.reference


def test_as_much_is_right_as_documented(asked: Asked) -> None:
    shares = asked.right_shares(QUICK)
    assert set(FLOORS) == set(shares)
    assert {group: share for group, share in shares.items() if share < FLOORS[group]} == {}


@pytest.mark.parametrize("bits", QUANTISED_FLOORS)
def test_few_bits_cost_as_much_as_documented(bits: int, tiny: LoadedModel, tmp_path: Path) -> None:
    kind = Kind(mode="affine", bits=bits, group=32)
    small, *_ = quantise_checkpoint(tiny, tmp_path, lambda path: kind, kind)
    shares = Asked(small).right_shares(QUICK[::2])
    assert sum(shares.values()) / len(shares) >= QUANTISED_FLOORS[bits]
