"""Samplers choose by the distribution that was asked for, and by no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from gemma4cli.engine.sampling import make_sampler, suppress

LOGITS = [2.0, -1.0, 0.5, 3.0, 2.5, -4.0, 0.0, 1.0]
DRAWS = 1500


def draw(logits: Sequence[float], count: int = DRAWS, seed: int = 0, **options: float) -> list[int]:
    settings = {"temperature": 1.0, "top_p": 1.0, "top_k": 0} | options
    sampler = make_sampler(**settings, key=mx.random.key(seed))
    given = mx.array(logits)
    return mx.stack([sampler(given) for _ in range(count)]).tolist()


def wanted(
    logits: Sequence[float], *, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0
) -> npt.NDArray[np.float64]:
    """Probabilities: temperature, then the k likeliest, then those that add up to p."""
    scaled = np.array(logits) / temperature
    order = np.argsort(-scaled)[: top_k or None]
    probabilities = np.exp(scaled[order] - scaled.max())
    probabilities /= probabilities.sum()
    keep = np.cumsum(probabilities) - probabilities < top_p
    kept = np.where(keep, probabilities, 0)
    result = np.zeros(len(scaled))
    result[order] = kept / kept.sum()
    return result


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 3},
        {"top_p": 0.8},
        {"top_k": 5, "top_p": 0.7},
        {"top_k": 5, "top_p": 0.9, "temperature": 1.5},
        {"top_k": 8},
        {"top_k": 500},
    ],
    ids=str,
)
def test_distribution(options: dict[str, float]) -> None:
    """Five standard deviations wide, and nothing is drawn that has no probability."""
    expected = wanted(LOGITS, **options)
    counts = Counter(draw(LOGITS, **options))
    shares = np.array([counts[i] for i in range(len(LOGITS))]) / DRAWS
    deviation = np.sqrt(expected * (1 - expected) / DRAWS)
    assert (np.abs(shares - expected) <= 5 * deviation + 1e-9).all()


def test_top_k_comes_before_top_p() -> None:
    """Of two equal halves of ten, four are left; 60 % of those are three, of all would be six.

    0.1 each, k 4 -> 0.25 each, p 0.6 -> 3 of them
    """
    drawn = set(draw([0.0] * 10, top_k=4, top_p=0.6))
    assert len(drawn) == 3


@pytest.mark.parametrize("top_p", [1e-6, 0.3])
def test_top_p_keeps_the_likeliest(top_p: float) -> None:
    assert set(draw([0.0, 9.0, 1.0], 50, top_p=top_p)) == {1}


def test_greedy_takes_the_likeliest() -> None:
    sampler = make_sampler(temperature=0, top_p=0.5, top_k=2)
    assert sampler(mx.array(LOGITS)).item() == 3
    assert sampler(mx.array([1.0, 1.0])).item() == 0


def test_seed_repeats_the_draws() -> None:
    first, again, other = (draw(LOGITS, 60, seed=seed) for seed in (7, 7, 8))
    assert first == again != other
    assert len(set(first)) > 2


def test_without_a_seed_draws_differ() -> None:
    logits = mx.zeros(1000)
    runs = []
    for _ in range(2):
        sampler = make_sampler(temperature=1, top_p=1, top_k=0)
        runs.append([sampler(logits).item() for _ in range(12)])
    assert runs[0] != runs[1]


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}, {"top_k": 8, "top_p": 0.99}])
def test_suppressed_ids_are_never_drawn(options: dict[str, float]) -> None:
    bias = suppress(len(LOGITS), [3, 4])
    assert bias is not None
    drawn = set(draw((mx.array(LOGITS) + bias).tolist(), **options))
    assert drawn
    assert not drawn & {3, 4}
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    assert greedy(mx.array(LOGITS) + bias).item() == 0


def test_ids_outside_the_vocabulary_are_not_suppressed() -> None:
    assert suppress(8, []) is None
    assert suppress(8, [8, 900, -1]) is None
    bias = suppress(8, [7, 900])
    assert bias is not None
    assert bias.tolist() == [0.0] * 7 + [-float("inf")]
