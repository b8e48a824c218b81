"""What the built-in models answer to pictures, sounds and clips that they were not trained on.

Their answers have to be the reference implementation's, and as many of them right as docs/tiny.md
says, less what chance may do to sets as small as these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from support.answered import FIXTURES, Answered, Asked, answered
from support.quantized_checkpoints import Kind, quantize_checkpoint

import gemma4cli
from gemma4cli.options import LoadOptions

FLOORS: Mapping[str, Mapping[str, float]] = {
    "tiny": {
        "speech": 0.95,
        "pictures": 0.88,
        "questions": 0.9,
        "picture and spoken question": 0.6,
        "video": 0.8,
        "video with speech": 0.6,
        "talk": 0.95,
    },
    "tiny-unified": {"plain": 0.95, "objects": 0.85, "count": 0.9, "digits": 0.95},
}
"""Of each part the least share of words, events or answers that has to be right."""
QUANTIZED_FLOORS: Mapping[tuple[str, int], float] = {
    ("tiny", 8): 0.85,
    ("tiny", 4): 0.8,
    ("tiny-unified", 8): 0.92,
    ("tiny-unified", 4): 0.9,
}
"""The same as a mean over all parts, for every other case, by bits."""
MODELS = {"tiny": "tiny", "tiny-unified": str(FIXTURES / "tiny-unified")}
CASES = {name: answered(FIXTURES / "held_out" / f"{name}.json") for name in FLOORS}
QUICK = {
    name: [each for each in cases if each.case.budget is None] for name, cases in CASES.items()
}
LARGE = {
    name: [each for each in cases if each.case.budget in {140, 280}][::5]
    for name, cases in CASES.items()
}
"""Some of the budgets that take seconds each on a CPU; the largest take a minute."""

pytestmark = pytest.mark.toy
AskedOf = Callable[[str], Asked]


@pytest.fixture(scope="module")
def asked_of() -> AskedOf:
    @cache
    def asked(name: str) -> Asked:
        return Asked(gemma4cli.load(MODELS[name], options=LoadOptions(dtype="float32")))

    return asked


@pytest.mark.parametrize(
    ("name", "held_out"),
    [(name, each) for name in CASES for each in [*QUICK[name], *LARGE[name]]],
    ids=str,
)
def test_answer_is_the_references(asked_of: AskedOf, name: str, held_out: Answered) -> None:
    assert asked_of(name).answer(held_out) == held_out.reference


@pytest.mark.parametrize("name", CASES)
def test_as_much_is_right_as_documented(asked_of: AskedOf, name: str) -> None:
    shares = asked_of(name).right_shares(QUICK[name])
    assert set(FLOORS[name]) == set(shares)
    assert {part: share for part, share in shares.items() if share < FLOORS[name][part]} == {}


@pytest.mark.parametrize(("name", "bits"), QUANTIZED_FLOORS)
def test_few_bits_cost_as_much_as_documented(name: str, bits: int, tmp_path: Path) -> None:
    kind = Kind(mode="affine", bits=bits, group=32)
    small, *_ = quantize_checkpoint(gemma4cli.load(MODELS[name]), tmp_path, lambda path: kind, kind)
    shares = Asked(small).right_shares(QUICK[name][::2])
    assert sum(shares.values()) / len(shares) >= QUANTIZED_FLOORS[name, bits]
