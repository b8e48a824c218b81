"""Attention to packed keys and values equals attention to the numbers that they stand for."""

from __future__ import annotations

from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.models.attention import Packed, dequantized
from gemma4cli.models.masks import Visibility

SHAPES = [
    (8, 1, 1, 1, 512),
    (8, 1, 1, 900, 512),
    (4, 2, 5, 77, 64),
    (16, 2, 70, 300, 512),
    (4, 1, 3, 260, 32),
    (2, 2, 40, 1000, 96),
    (1, 1, 1, 3000, 64),
    (16, 1, 1, 130, 128),
    (4, 1, 1, 65, 64),
]


def packed(rows: mx.array, bits: int, room: int = 0) -> Packed:
    """As a cache gives them: the first of more positions that there is room for."""
    padded = mx.pad(rows, [(0, 0), (0, 0), (0, room), (0, 0)])
    group = 64 if rows.shape[-1] % 64 == 0 else 32
    arrays = mx.quantize(padded, group_size=group, bits=bits)
    numbers, scales, biases = (each[..., : rows.shape[2], :] for each in arrays)
    return numbers, scales, biases


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("shape", "room"), [*((shape, 100) for shape in SHAPES), (SHAPES[1], 0), (SHAPES[2], 0)]
)
def test_packed_keys_and_values(
    shape: tuple[int, int, int, int, int],
    bits: int,
    room: int,
    native_set: ModuleType,
) -> None:
    heads, shared, length, seen, width = shape
    queries = 0.3 * mx.random.normal((2, heads, length, width), key=mx.random.key(1))
    keys, values = mx.random.normal((2, 2, shared, seen, width), key=mx.random.key(2))
    rows = [packed(each, bits, room) for each in (keys, values)]
    rule = Visibility(length=length, before=seen - length)
    arrays = [dequantized(each, width) for each in rows]
    expected = native_set.attention(queries, *arrays, 1.0, rule)
    found = native_set.attention(queries, *rows, 1.0, rule)
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=3e-5)


def test_arrays_that_do_not_fit_are_refused(native: ModuleType) -> None:
    queries, rows = mx.zeros((1, 1, 1, 64)), mx.zeros((1, 1, 4, 64))
    numbers, scales, biases = packed(rows, 8)
    for wrong in (
        (numbers, scales, biases[..., :0]),
        (numbers[..., :3], scales, biases),
        (numbers.astype(mx.int32), scales, biases),
        (numbers, scales.astype(mx.bfloat16), biases.astype(mx.bfloat16)),
    ):
        with pytest.raises((ValueError, RuntimeError), match="attention"):
            native.attention(queries, wrong, rows, 1.0)
