"""Samplers draw from the distribution that the options define."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemma4cli.engine.sampling import Sampler, make_sampler, step_is_finite, suppress
from gemma4cli.options import TokenBias

LOGITS = [2.0, -1.0, 0.5, 3.0, 2.5, -4.0, 0.0, 1.0]
DRAWS = 1500


def draw(logits: Sequence[float], count: int = DRAWS, seed: int = 0, **options: float) -> list[int]:
    settings = {"temperature": 1.0, "top_p": 1.0, "top_k": 0} | options
    sampler = make_sampler(**settings, key=mx.random.key(seed))
    given = mx.array(logits)
    return mx.stack([sampler(given) for _ in range(count)]).tolist()


def probabilities_of(
    logits: Sequence[float], *, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0
) -> npt.NDArray[np.float64]:
    """Probabilities by definition: temperature, the k likeliest, those that add up to p."""
    scaled = np.array(logits) / temperature
    order = np.argsort(-scaled)[: top_k or None]
    probabilities = np.exp(scaled[order] - scaled.max())
    probabilities /= probabilities.sum()
    keep = np.cumsum(probabilities) - probabilities < top_p
    kept = np.where(keep, probabilities, 0)
    result = np.zeros(len(scaled))
    result[order] = kept / kept.sum()
    return result


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=40, unique=True),
    st.sampled_from([0.3, 0.7, 1.0, 1.7]),
    st.integers(0, 50),
    st.floats(0.01, 1.0),
)
def test_candidates_and_their_probabilities_are_those_of_the_definition(
    tenths: list[int], temperature: float, top_k: int, top_p: float
) -> None:
    """Read from the logits that are drawn from, which a spy records as (id, logit) pairs."""
    logits = [tenth / 10 for tenth in tenths]
    options = {"temperature": temperature, "top_k": top_k}
    before = np.sort(probabilities_of(logits, **options))[::-1].cumsum()
    assume(np.abs(before - top_p).min() > 1e-4)  # not a matter of rounding
    expected = probabilities_of(logits, top_p=top_p, **options)
    with pytest.MonkeyPatch.context() as patch:
        candidates: list[mx.array] = []
        patch.setattr(mx.random, "categorical", lambda x, key: candidates.append(x) or mx.array(0))
        sampler = make_sampler(temperature=temperature, top_p=top_p, top_k=top_k)
        sampler(mx.array(logits))
        (drawn_from,) = candidates
        found = np.zeros(len(logits))
        for index, share in enumerate(mx.softmax(drawn_from).tolist()):
            patch.setattr(mx.random, "categorical", lambda x, key, i=index: mx.array(i))
            found[sampler(mx.array(logits)).item()] = share
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"top_k": 5, "top_p": 0.9, "temperature": 1.5}], ids=str)
def test_draws_follow_the_probabilities(options: dict[str, float]) -> None:
    """Within five standard deviations, and nothing of probability zero is drawn."""
    expected = probabilities_of(LOGITS, **options)
    counts = Counter(draw(LOGITS, **options))
    shares = np.array([counts[i] for i in range(len(LOGITS))]) / DRAWS
    deviation = np.sqrt(expected * (1 - expected) / DRAWS)
    assert (np.abs(shares - expected) <= 5 * deviation + 1e-9).all()


def test_top_k_is_applied_before_top_p() -> None:
    """Of ten equal tokens the top 4 have 0.25 each, and p = 0.6 keeps 3; alone it keeps 6."""
    drawn = set(draw([0.0] * 10, 200, top_k=4, top_p=0.6))
    assert len(drawn) == 3


@pytest.mark.parametrize("top_p", [1e-6, 0.3])
def test_top_p_always_keeps_the_likeliest(top_p: float) -> None:
    assert set(draw([0.0, 9.0, 1.0], 50, top_p=top_p)) == {1}


def test_temperature_zero_takes_the_likeliest_and_the_first_of_equals() -> None:
    sampler = make_sampler(temperature=0, top_p=0.5, top_k=2)
    assert sampler(mx.array(LOGITS)).item() == 3
    assert sampler(mx.array([1.0, 1.0])).item() == 0


def test_rounding_changes_no_draw_among_the_likeliest() -> None:
    """As a step with guesses, or with other rows, rounds otherwise than a step of one token."""
    random = np.random.default_rng(0)
    for seed in range(20):
        logits = random.normal(0, 3, 5_000).astype(np.float32)
        rounded = logits + random.normal(0, 1e-4, 5_000).astype(np.float32)
        drawn = [
            int(make_sampler(temperature=1, top_p=1, top_k=20, key=mx.random.key(seed))(each))
            for each in (mx.array(logits), mx.array(rounded))
        ]
        assert drawn[0] == drawn[1]


def test_equal_keys_draw_equal_tokens() -> None:
    first, again, other = (draw(LOGITS, 60, seed=seed) for seed in (7, 7, 8))
    assert first == again != other
    assert len(set(first)) > 2


def test_without_a_key_draws_differ() -> None:
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
    drawn = set(draw((mx.array(LOGITS) + bias).tolist(), 200, **options))
    assert drawn
    assert not drawn & {3, 4}
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    assert greedy(mx.array(LOGITS) + bias).item() == 0


def test_ids_outside_the_vocabulary_are_ignored_when_suppressing() -> None:
    assert suppress(8, []) is None
    assert suppress(8, [8, 900, -1]) is None
    bias = suppress(8, [7, 900])
    assert bias is not None
    assert bias.tolist() == [0.0] * 7 + [-float("inf")]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-37, 1e-30])
def test_the_coldest_temperatures_take_the_likeliest_token(temperature: float) -> None:
    assert set(draw([*LOGITS, 29.9], 20, temperature=temperature)) == {len(LOGITS)}


@pytest.mark.parametrize("temperature", [1e30, 1e300])
def test_the_hottest_temperatures_take_no_excluded_token(temperature: float) -> None:
    drawn = set(draw([*LOGITS, -math.inf], 200, temperature=temperature))
    assert drawn == set(range(len(LOGITS)))


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.0}, {}, {"top_k": 5}, {"top_p": 0.8}, {"top_k": 20, "top_p": 0.9}],
    ids=str,
)
def test_rows_drawn_together_are_those_drawn_alone(options: dict[str, float]) -> None:
    """Over several steps, with a key for each row; some tokens are excluded."""
    settings = {"temperature": 1.3, "top_p": 1.0, "top_k": 0} | options
    steps = mx.random.normal((6, 4, 50), key=mx.random.key(5)) * 3
    steps[..., 7] = -mx.inf
    alone, together = (
        [make_sampler(**settings, key=mx.random.key(row)) for row in range(4)] for _ in range(2)
    )
    expected = [[each(row).item() for each, row in zip(alone, step, strict=True)] for step in steps]
    assert [Sampler.sample_rows(together, step).tolist() for step in steps] == expected


def test_a_bias_is_added_to_the_logits_of_its_tokens_in_each_row() -> None:
    bias = [TokenBias(token=0, bias=5.5), TokenBias(token=1, bias=-2)]
    base = {"temperature": 1.0, "top_p": 0.9, "top_k": 3}
    logits = mx.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, -mx.inf]])
    biased = mx.array([[6.5, 0.0, 3.0, 4.0], [9.5, 1.0, 2.0, -mx.inf]])

    def drawn(logits: mx.array, bias: Sequence[TokenBias] = ()) -> object:
        keys = [mx.random.key(seed) for seed in range(40)]
        samplers = [make_sampler(**base, key=key, bias=bias) for key in keys]
        return Sampler.sample_rows(samplers, mx.concatenate([logits] * 20)).tolist()

    assert drawn(logits, bias) == drawn(biased) != drawn(logits)


def test_rows_may_be_drawn_by_different_rules() -> None:
    logits = mx.array([LOGITS] * 3)
    rules = [{"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.01}]
    base = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    samplers = [make_sampler(**base | rule, key=mx.random.key(1)) for rule in rules]
    first, second, third = Sampler.sample_rows(samplers, logits).tolist()
    assert (first, third) == (3, 3)
    assert second in (3, 4)


@pytest.mark.parametrize("value", [mx.nan, mx.inf, -mx.inf])
def test_a_hidden_state_that_is_not_finite_is_noticed_in_its_row(value: float) -> None:
    hidden = mx.zeros((2, 40))
    hidden[1, 30] = value
    for dtype in (mx.float32, mx.bfloat16):
        found = step_is_finite(hidden.astype(dtype), mx.zeros((2, 8)))
        assert found.tolist() == [True, False]


def test_in_float16_logits_past_its_range_are_noticed_and_excluded_tokens_are_none() -> None:
    """The head's product may exceed 65,504 where its input does not."""
    hidden = mx.ones((2, 40), mx.float16)
    logits = mx.zeros((2, 8))
    logits[:, 3] = -mx.inf
    logits[1, 5] = mx.nan
    assert step_is_finite(hidden, logits).tolist() == [True, False]
