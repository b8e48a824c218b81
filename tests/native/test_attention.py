"""The native part's attention, against the softmax in double precision over MLX's masks."""

from __future__ import annotations

from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemma4cli.models.masks import Mask, Visibility, make_batch_masks, make_masks

Numbers = npt.NDArray[np.float64]


def exactly(
    q: mx.array, k: mx.array, v: mx.array, scale: float, visible: npt.NDArray[np.bool_]
) -> Numbers:
    """``[B, L, H * D]``; ``visible`` fits ``[B, H, L, S]``."""
    group = q.shape[1] // k.shape[1]
    queries = np.array(q, np.float64)
    keys, values = (np.repeat(np.array(a, np.float64), group, axis=1) for a in (k, v))
    scores = np.where(visible, queries @ keys.swapaxes(2, 3) * scale, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out = weights / weights.sum(axis=-1, keepdims=True) @ values
    batch, _, length, _ = q.shape
    return np.asarray(out.transpose(0, 2, 1, 3).reshape(batch, length, -1))


def as_table(mask: Mask, length: int, keys: int) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones((length, keys), bool)
    if isinstance(mask, str):
        return np.tri(length, keys, keys - length, dtype=bool)
    return np.array(mask)


def projected(
    shape: tuple[int, int, int], shared: int, keys: int, width: int
) -> tuple[mx.array, mx.array, mx.array]:
    """Queries, and keys and values as views of larger buffers, as a cache gives them."""
    batch, heads, length = shape
    q = mx.random.normal((batch, length, heads, width)).transpose(0, 2, 1, 3)
    buffers = mx.random.normal((2, batch, shared, keys + 11, width))
    return q, buffers[0, :, :, 4 : 4 + keys], buffers[1, :, :, 4 : 4 + keys]


def check(
    native: ModuleType,
    operands: tuple[mx.array, mx.array, mx.array],
    rule: Visibility | None,
    *,
    scale: float | None = None,
) -> None:
    q, k, v = operands
    # Scores of a few units, whatever the width: their rounding is what the weights differ by.
    scale = 2 * q.shape[3] ** -0.5 if scale is None else scale
    visible = as_table(None if rule is None else rule.mask, q.shape[2], k.shape[2])
    expected = exactly(q, k, v, scale, visible)
    got = np.array(native.attention(q, k, v, scale, rule))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("width", [7, 64, 80, 128, 256, 512])
@pytest.mark.parametrize(
    ("batch", "heads", "shared", "length", "keys"),
    [(1, 8, 1, 1, 1), (2, 4, 2, 1, 300), (1, 8, 1, 1, 2500), (1, 6, 3, 5, 61), (1, 2, 2, 150, 150)],
)
def test_all_keys_may_be_seen(
    native_set: ModuleType, batch: int, heads: int, shared: int, length: int, keys: int, width: int
) -> None:
    check(native_set, projected((batch, heads, length), shared, keys, width), None)


@pytest.mark.parametrize("window", [1, 7, 100])
@pytest.mark.parametrize("offset", [0, 3, 260])
@pytest.mark.parametrize("length", [2, 5, 170])
def test_a_chunk_sees_the_past_and_on_sliding_layers_the_window_of_it(
    native_set: ModuleType, length: int, offset: int, window: int
) -> None:
    masks = make_masks(length=length, offset=offset, window=window)
    check(native_set, projected((1, 4, length), 2, offset + length, 64), masks.full)
    kept = min(offset, window - 1)
    check(native_set, projected((1, 4, length), 2, kept + length, 64), masks.sliding)


BLOCKS = [-1, -1, *[0] * 13, *[1] * 40, -1, *[2] * 70, -1, -1]


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("window", [4, 30, 1000])
@pytest.mark.parametrize("offset", [0, 50])
def test_the_tokens_of_an_image_see_each_other(
    native_set: ModuleType, offset: int, window: int, everywhere: bool
) -> None:
    masks = make_masks(
        length=len(BLOCKS),
        offset=offset,
        window=window,
        blocks=BLOCKS,
        blocks_on_full_layers=everywhere,
    )
    kept = min(offset, window - 1)
    check(native_set, projected((1, 2, len(BLOCKS)), 1, offset + len(BLOCKS), 64), masks.full)
    check(native_set, projected((1, 2, len(BLOCKS)), 1, kept + len(BLOCKS), 64), masks.sliding)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 40),
    st.integers(1, 20),
    st.integers(1, 64),
    st.lists(st.integers(0, 45), min_size=1, max_size=4),
)
@example(40, 1, 4, [0, 0])
@example(9, 1, 1, [0, 9])
def test_no_row_of_a_batch_sees_its_padding_and_padding_sees_itself(
    native: ModuleType, offset: int, length: int, window: int, padding: list[int]
) -> None:
    padding = [min(each, offset + length - 1) for each in padding]
    masks = make_batch_masks(length=length, offset=offset, window=window, padding=padding)
    shape = (len(padding), 2, length)
    check(native, projected(shape, 1, offset + length, 8), masks.full)
    check(native, projected(shape, 1, min(offset, window - 1) + length, 8), masks.sliding)


@pytest.mark.parametrize("shape", [(50, 70), (2, 1, 50, 70)])
def test_any_mask_may_be_given(native_set: ModuleType, shape: tuple[int, ...]) -> None:
    q, k, v = projected((2, 4, 50), 2, 70, 64)
    visible = np.random.default_rng(3).random(shape) < 0.3
    visible[..., 5] = True
    got = native_set.attention(q, k, v, 0.3, mask=mx.array(visible))
    np.testing.assert_allclose(np.array(got), exactly(q, k, v, 0.3, visible), rtol=1e-4, atol=2e-5)


def test_scores_of_any_size_are_weighed(native_set: ModuleType) -> None:
    """Rising scores move the maximum in each block of keys; most weights are too small to count."""
    q, k, v = projected((1, 2, 40), 1, 600, 64)
    rising = k * mx.linspace(0, 5, 600)[:, None]
    check(native_set, (q, rising, v), None, scale=1.0)
    check(native_set, (q, rising[:, :, ::-1], v), None, scale=1.0)
    check(native_set, (q[:, :, :1], rising, v), None, scale=1.0)


def test_operands_may_have_any_strides(native_set: ModuleType) -> None:
    q = mx.random.normal((1, 64, 5, 4)).transpose(0, 3, 2, 1)
    k, v = (mx.random.normal((1, 2, 64, 33)).swapaxes(2, 3) for _ in range(2))
    check(native_set, (q, k, v), None)


def test_a_number_that_is_not_finite_shows_in_what_sees_it(native_set: ModuleType) -> None:
    q, k, v = (mx.random.normal((1, 1, 6, 64)) for _ in range(3))
    k[0, 0, 3] = mx.nan
    rule = make_masks(length=6, offset=0, window=64).full
    got = np.isnan(np.array(native_set.attention(q, k, v, 1.0, rule))).any(axis=-1)
    assert got[0].tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize(("batch", "heads", "length"), [(0, 4, 2), (1, 0, 2), (1, 4, 0)])
def test_no_queries_give_an_empty_result(
    native: ModuleType, batch: int, heads: int, length: int
) -> None:
    q, k = mx.zeros((batch, heads, length, 8)), mx.zeros((batch, 2, 5, 8))
    assert native.attention(q, k, k, 1.0).tolist() == mx.zeros((batch, length, heads * 8)).tolist()


def test_operands_that_do_not_fit_are_refused(native: ModuleType) -> None:
    q, k = mx.zeros((1, 4, 2, 64)), mx.zeros((1, 2, 8, 64))
    with pytest.raises(ValueError, match="float32"):
        native.attention(q, k.astype(mx.float16), k, 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        native.attention(q, mx.zeros((1, 3, 8, 64)), mx.zeros((1, 3, 8, 64)), 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        native.attention(q, k, k[:, :, :5], 1.0)
    with pytest.raises(ValueError, match="blocks must be"):
        native.attention(q, k, k, 1.0, Visibility(length=3, blocks=(0, 0, 0)))
    with pytest.raises(ValueError, match="mask must be"):
        native.attention(q, k, k, 1.0, mask=mx.zeros((2, 8)))
