"""Attention masks of prefill chunks and batches, against the rule spelled out key by key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemma4cli.models.masks import Mask, make_batch_masks, make_masks

Visible = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]
Rule = Callable[[Positions, Positions], Visible]
"""Whether a query at one position sees a key at another."""
NO_BLOCK = -1


def table(queries: range, keys: range, rule: Rule) -> Visible:
    """``rule`` for each query and key, ``[queries, keys]``."""
    visible = rule(np.array(queries)[:, None], np.array(keys)[None])
    return np.broadcast_to(visible, (len(queries), len(keys)))


def as_table(mask: Mask, length: int, keys: int) -> Visible:
    """A mask in one of MLX's forms as booleans; the last key is that of the last query."""
    if mask is None:
        return np.ones((length, keys), bool)
    if isinstance(mask, str):
        assert mask == "causal"
        return np.tri(length, keys, keys - length, dtype=bool)
    return np.array(mask)


@st.composite
def chunks(draw: st.DrawFn) -> tuple[list[int], int]:
    """The image block of each position of a prompt, and a chunk's start that splits no block."""
    blocks: list[int] = []
    for number in range(draw(st.integers(0, 4))):
        blocks += [NO_BLOCK] * draw(st.integers(0, 6))
        blocks += [number] * draw(st.integers(1, 14))
    blocks += [NO_BLOCK] * draw(st.integers(1, 12))
    starts = [
        at
        for at, block in enumerate(blocks)
        if at == 0 or block == NO_BLOCK or block != blocks[at - 1]
    ]
    return blocks, draw(st.sampled_from(starts))


def in_one_block(blocks: Sequence[int], q: Positions, k: Positions) -> Visible:
    numbers = np.array(blocks)
    return (numbers[q] == numbers[k]) & (numbers[q] != NO_BLOCK)


WINDOWS = st.integers(1, 64)
TEXT = ([NO_BLOCK] * 20, 9)
IMAGE_LONGER_THAN_THE_WINDOW = ([*[NO_BLOCK] * 4, *[0] * 13, *[NO_BLOCK] * 3], 4)


def check_masks(
    prompt: tuple[list[int], int],
    window: int,
    *,
    blocks_on_full_layers: bool,
    full_rule: Rule,
    sliding_rule: Rule,
    with_blocks: bool = True,
) -> None:
    """The sliding cache holds, and the mask covers, the last window - 1 keys and the chunk."""
    blocks, start = prompt
    length, total = len(blocks) - start, len(blocks)
    masks = make_masks(
        length=length,
        offset=start,
        window=window,
        blocks=blocks[start:] if with_blocks else None,
        blocks_on_full_layers=blocks_on_full_layers,
    )
    queries = range(start, total)
    full = table(queries, range(total), full_rule)
    np.testing.assert_array_equal(as_table(masks.full.mask, length, total), full)
    sliding = table(queries, range(total), sliding_rule)
    kept = min(start, window - 1) + length
    np.testing.assert_array_equal(as_table(masks.sliding.mask, length, kept), sliding[:, -kept:])
    assert not sliding[:, :-kept].any()
    assert masks.of("full_attention") is masks.full.mask
    assert masks.of("sliding_attention") is masks.sliding.mask


@given(chunks(), WINDOWS)
@example(TEXT, 4)
@example(TEXT, 20)
@example(IMAGE_LONGER_THAN_THE_WINDOW, 8)
def test_without_image_blocks_a_token_sees_the_past_and_on_sliding_layers_the_window_of_it(
    prompt: tuple[list[int], int], window: int
) -> None:
    check_masks(
        prompt,
        window,
        blocks_on_full_layers=False,
        full_rule=lambda q, k: k <= q,
        sliding_rule=lambda q, k: (q - window < k) & (k <= q),
        with_blocks=False,
    )


@given(chunks(), WINDOWS)
@example(TEXT, 4)
@example(IMAGE_LONGER_THAN_THE_WINDOW, 8)
def test_image_blocks_are_bidirectional_on_sliding_layers_within_the_window(
    prompt: tuple[list[int], int], window: int
) -> None:
    blocks, _ = prompt
    check_masks(
        prompt,
        window,
        blocks_on_full_layers=False,
        full_rule=lambda q, k: k <= q,
        sliding_rule=lambda q, k: (q - window < k) & ((k <= q) | in_one_block(blocks, q, k)),
    )


@given(chunks(), WINDOWS)
@example(TEXT, 4)
@example(IMAGE_LONGER_THAN_THE_WINDOW, 8)
def test_blocks_on_full_layers_are_bidirectional_everywhere_and_beyond_the_window(
    prompt: tuple[list[int], int], window: int
) -> None:
    blocks, _ = prompt
    check_masks(
        prompt,
        window,
        blocks_on_full_layers=True,
        full_rule=lambda q, k: (k <= q) | in_one_block(blocks, q, k),
        sliding_rule=lambda q, k: (q - window < k) & (k <= q) | in_one_block(blocks, q, k),
    )


def test_the_window_limits_the_past_only() -> None:
    """In a block of ten, with a window of four, the first token sees ten keys, the last four."""
    mask = make_masks(length=10, offset=0, window=4, blocks=[0] * 10).sliding.mask
    assert isinstance(mask, mx.array)
    assert mask.sum(axis=1).tolist() == [10, 10, 10, 10, 9, 8, 7, 6, 5, 4]


@pytest.mark.parametrize("offset", [0, 3, 500])
def test_a_single_token_needs_no_mask(offset: int) -> None:
    masks = make_masks(length=1, offset=offset, window=4, blocks=[0])
    assert (masks.full.mask, masks.sliding.mask) == (None, None)


# Batches


@given(
    st.integers(0, 40),
    st.integers(1, 10),
    WINDOWS,
    st.lists(st.integers(0, 45), min_size=1, max_size=4),
)
@example(40, 1, 4, [0, 0])
@example(9, 1, 1, [0, 9])
def test_in_a_batch_no_row_sees_its_padding_and_padding_sees_itself(
    offset: int, length: int, window: int, padding: Sequence[int]
) -> None:
    total = offset + length
    padding = [min(each, total - 1) for each in padding]
    masks = make_batch_masks(length=length, offset=offset, window=window, padding=padding)
    for mask, reach in ((masks.full.mask, total), (masks.sliding.mask, window)):
        keys = range(offset - min(offset, reach - 1), total)
        given_table = np.broadcast_to(
            as_table(mask, length, len(keys)), (len(padding), 1, length, len(keys))
        )
        for row, empty in enumerate(padding):

            def visible(
                q: Positions, k: Positions, empty: int = empty, reach: int = reach
            ) -> Visible:
                near = (empty <= k) & (k <= q) & (q < k + reach)
                return np.where(q < empty, k == q, near)

            expected = table(range(offset, total), keys, visible)
            np.testing.assert_array_equal(given_table[row, 0], expected)


def test_a_batch_needs_no_mask_once_the_padding_has_left_the_window() -> None:
    masks = make_batch_masks(length=1, offset=20, window=4, padding=(0, 17))
    assert masks.sliding.mask is None
    assert isinstance(masks.full.mask, mx.array)
    assert make_batch_masks(length=1, offset=20, window=4, padding=(0, 0)).full.mask is None
