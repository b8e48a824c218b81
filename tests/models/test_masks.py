"""Masks of a prefill chunk, against the rule spelled out key by key."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from gemma4cli.models.masks import Mask, make_masks

Seen = npt.NDArray[np.bool_]
OPEN = -1


def rule(
    blocks: list[int], start: int, window: int | None, *, bidirectional: bool, clamped: bool
) -> Seen:
    """Which of all keys so far the tokens from ``start`` on see.

    ``blocks`` number every position of the prompt; ``window`` None has no bound.
    """
    length = len(blocks)
    seen = np.zeros((length - start, length), bool)
    for q in range(start, length):
        for k in range(length):
            causal = k <= q
            inside = window is None or k > q - window
            together = bidirectional and blocks[q] == blocks[k] != OPEN
            seen[q - start, k] = (
                ((causal or together) and inside) if clamped else (causal and inside) or together
            )
    return seen


def spelled_out(mask: Mask, length: int, keys: int) -> Seen:
    """A mask in MLX's forms as booleans ``[length, keys]``; the last key is the last query's."""
    if mask is None:
        return np.ones((length, keys), bool)
    if isinstance(mask, str):
        assert mask == "causal"
        return np.tri(length, keys, keys - length, dtype=bool)
    return np.array(mask)


def layouts() -> list[tuple[str, list[int], int]]:
    """Name, blocks of all positions, start of the chunk."""
    text = [OPEN] * 20
    image = [*[OPEN] * 3, *[0] * 6, OPEN, *[1] * 4, *[OPEN] * 6]
    long = [*[OPEN] * 4, *[0] * 13, *[OPEN] * 3]
    return [
        ("text", text, 0),
        ("text behind text", text, 9),
        ("text behind little text", text, 2),
        ("one token", text, 19),
        ("images", image, 0),
        ("image behind text", image, 3),
        ("text behind images", image, 14),
        ("second image", image, 10),
        ("image longer than the window", long, 0),
        ("the same behind text", long, 4),
    ]


@pytest.mark.parametrize("window", [4, 8, 20, 64])
@pytest.mark.parametrize(
    ("blocks", "start"), [x[1:] for x in layouts()], ids=[x[0] for x in layouts()]
)
@pytest.mark.parametrize("mode", ["causal", "vision", "unclamped"])
def test_mask_is_the_rule(mode: str, blocks: list[int], start: int, window: int) -> None:
    """The sliding cache holds, and the mask describes, the last window - 1 keys and the chunk."""
    length = len(blocks) - start
    masks = make_masks(
        length=length,
        offset=start,
        window=window,
        blocks=None if mode == "causal" else blocks[start:],
        open_full_layers=mode == "unclamped",
    )
    opened = mode != "causal"
    full = rule(blocks, start, None, bidirectional=mode == "unclamped", clamped=False)
    sliding = rule(blocks, start, window, bidirectional=opened, clamped=mode != "unclamped")
    kept = min(start, window - 1) + length
    np.testing.assert_array_equal(spelled_out(masks.full, length, len(blocks)), full)
    np.testing.assert_array_equal(spelled_out(masks.sliding, length, kept), sliding[:, -kept:])
    assert not sliding[:, :-kept].any()
    assert masks.of("full_attention") is masks.full
    assert masks.of("sliding_attention") is masks.sliding


def test_window_cuts_the_past_only() -> None:
    """In a block longer than the window a token sees all that follows it.

    block 0..9, window 4: the first token sees ten keys, the last one four.
    """
    mask = make_masks(length=10, offset=0, window=4, blocks=[0] * 10).sliding
    assert isinstance(mask, mx.array)
    assert mask.sum(axis=1).tolist() == [10, 10, 10, 10, 9, 8, 7, 6, 5, 4]


def test_single_token_needs_no_mask() -> None:
    for offset in (0, 3, 500):
        masks = make_masks(length=1, offset=offset, window=4, blocks=[0])
        assert (masks.full, masks.sliding) == (None, None)
