"""Unpacking the weights of a quantised layer changes its speed, not its results."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from gemma4cli.models.cpu_layers import UnpackingLinear, unpack_many_rows

KINDS = [("affine", 64, 4), ("affine", 32, 2), ("affine", 64, 8)]
KINDS += [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("mode", "group_size", "bits"), KINDS)
def test_same_product(mode: str, group_size: int, bits: int, bias: bool) -> None:
    mx.random.seed(3)
    plain = nn.Linear(128, 48, bias=bias)
    layer = nn.QuantizedLinear.from_linear(plain, group_size, bits, mode=mode)
    network = nn.Sequential(layer)
    inputs = {rows: mx.random.normal((2, rows, 128)) for rows in (1, 3, 4, 33)}
    expected = {rows: np.array(network(x)) for rows, x in inputs.items()}
    unpack_many_rows(network)
    assert isinstance(network.layers[0], UnpackingLinear)
    for rows, x in inputs.items():
        product = network(x)
        assert product.dtype == mx.float32
        np.testing.assert_allclose(np.array(product), expected[rows], atol=2e-5)


def test_few_rows_are_left_to_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.QuantizedLinear(64, 8, bias=False)
    unpack_many_rows(layer)
    unpacked: list[int] = []
    dequantize = mx.dequantize

    def spy(*arguments: object, **options: object) -> mx.array:
        unpacked.append(1)
        return dequantize(*arguments, **options)

    monkeypatch.setattr(mx, "dequantize", spy)
    mx.eval(layer(mx.ones((1, 7, 64))))
    assert not unpacked
    mx.eval(layer(mx.ones((1, 8, 64))))
    assert unpacked == [1]


def test_other_layers_stay() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.QuantizedEmbedding(32, 64))
    unpack_many_rows(network)
    assert [type(layer) for layer in network.layers] == [nn.Linear, nn.QuantizedEmbedding]
