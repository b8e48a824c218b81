"""The CPU's quantized layers and split attention give the same results as MLX's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from gemma4cli.machine.streams import end_streams
from gemma4cli.models import cpu_layers, vision_tower
from gemma4cli.models.cpu_layers import (
    CpuQuantizedEmbedding,
    CpuQuantizedLinear,
    use_whole_cpu,
)
from gemma4cli.models.vision_tower import attend

KINDS = [("affine", 64, 4), ("affine", 32, 2), ("affine", 64, 8)]
KINDS += [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]


@pytest.fixture(params=["whole", "split"])
def splitting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes small layers split too, into three parts of unequal size."""
    if request.param == "split":
        streams = tuple(mx.new_stream(mx.cpu) for _ in range(3))
        monkeypatch.setattr(cpu_layers, "_LARGE", 1)
        monkeypatch.setattr(cpu_layers, "_streams", lambda: streams)


@pytest.mark.usefixtures("splitting")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("mode", "group_size", "bits"), KINDS)
def test_a_cpu_layer_computes_the_product_of_the_layer_it_replaces(
    mode: str, group_size: int, bits: int, bias: bool
) -> None:
    mx.random.seed(3)
    plain = nn.Linear(128, 50, bias=bias)
    network = nn.Sequential(nn.QuantizedLinear.from_linear(plain, group_size, bits, mode=mode))
    inputs = {rows: mx.random.normal((2, rows, 128)) for rows in (1, 3, 4, 33)}
    expected = {rows: np.array(network(x)) for rows, x in inputs.items()}
    use_whole_cpu(network)
    assert type(network.layers[0]) is CpuQuantizedLinear
    for rows, x in inputs.items():
        product = network(x)
        assert product.dtype == mx.float32
        np.testing.assert_allclose(np.array(product), expected[rows], atol=2e-5)


@pytest.mark.usefixtures("splitting")
def test_a_cpu_embedding_gives_the_rows_and_logits_of_the_one_it_replaces() -> None:
    mx.random.seed(4)
    network = nn.Sequential(nn.QuantizedEmbedding(50, 128, 64, 4))
    table = network.layers[0]
    ids, hidden = mx.array([[3, 49]]), mx.random.normal((1, 1, 128))
    rows, logits = np.array(table(ids)), np.array(table.as_linear(hidden))
    use_whole_cpu(network)
    assert type(table) is CpuQuantizedEmbedding
    np.testing.assert_array_equal(np.array(table(ids)), rows)
    np.testing.assert_allclose(np.array(table.as_linear(hidden)), logits, atol=2e-5)


def test_weights_are_dequantized_from_eight_rows_on(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.QuantizedLinear(64, 8, bias=False)
    use_whole_cpu(layer)
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


def test_there_is_one_stream_per_core_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, streams in ((None, 1), (2, 2), (64, 8)):
        monkeypatch.setattr(cpu_layers.os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(cpu_layers, "_OF_THREAD", cpu_layers._OfThread())
        assert len(cpu_layers._streams()) == streams


def test_every_thread_has_streams_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX refuses a stream in another thread than that which made it."""
    monkeypatch.setattr(cpu_layers.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(cpu_layers, "_OF_THREAD", cpu_layers._OfThread())
    monkeypatch.setattr(cpu_layers, "_LARGE", 1)
    layer = CpuQuantizedLinear.from_linear(nn.Linear(64, 48), group_size=64, bits=4)
    x = mx.ones((1, 64))
    mx.eval(layer.parameters(), x)

    def computed() -> list[list[float]]:
        try:
            return layer(x).tolist()
        finally:
            end_streams()

    here = layer(x).tolist()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(computed).result() == other.submit(computed).result() == here


@pytest.mark.parametrize("queries", [1, 5, 12])
def test_attention_in_chunks_and_over_streams_equals_attention_at_once(
    queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mx.random.seed(5)
    q, k, v = (mx.random.normal((2, 3, count, 8)) for count in (queries, 12, 12))
    whole = np.array(mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0))
    np.testing.assert_array_equal(np.array(attend(q, k, v)), whole)
    monkeypatch.setattr(vision_tower, "VISION_QUERIES", 5)
    np.testing.assert_allclose(np.array(attend(q, k, v)), whole, atol=1e-6)
    streams = tuple(mx.new_stream(mx.cpu) for _ in range(2))
    monkeypatch.setattr(vision_tower, "_WORTH_SPLITTING", 2)
    monkeypatch.setattr(vision_tower, "cpu_streams", lambda: streams)
    np.testing.assert_allclose(np.array(attend(q, k, v)), whole, atol=1e-6)


def test_work_is_split_over_streams_on_a_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.cpu))
    assert all(isinstance(stream, mx.Stream) for stream in cpu_layers.cpu_streams())
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    assert cpu_layers.cpu_streams() == (None,)


def test_layers_that_are_not_quantized_keep_their_class() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Embedding(32, 64))
    use_whole_cpu(network)
    assert [type(layer) for layer in network.layers] == [nn.Linear, nn.Embedding]
