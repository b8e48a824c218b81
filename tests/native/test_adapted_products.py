"""What adapters do to products, against double precision, and in decoder layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from gemma4cli.api import change_adapter, load
from gemma4cli.engine.decode import run_tokens
from gemma4cli.engine.local import LocalModel
from gemma4cli.models.low_rank import LowRankEmbedding, LowRankLinear
from gemma4cli.models.masks import make_masks
from gemma4cli.options import LoadOptions
from tests.support.adapters import matrices, peft_config, write, write_peft
from tests.support.checkpoints import PARITY
from tests.support.graphs import primitives
from tests.support.stored_matrices import FORMATS, Format, Stored, random_numbers, stored

Exact: TypeAlias = npt.NDArray[np.float64]
Adapter: TypeAlias = tuple[object, ...]

COUNTS = [1, 2, 5, 30]
FOUR_BITS = FORMATS[5]


class Changed:
    """A matrix with an adapter as the native part takes both, and both in double precision."""

    def __init__(
        self, matrix: Stored, rank: int, dtype: mx.Dtype, *, share: bool, bias: bool, seed: int = 0
    ) -> None:
        outputs, inputs = matrix.numbers.shape
        a = (random_numbers(rank, inputs, seed=seed + 1) * 0.1).astype(dtype)
        b = random_numbers(outputs, rank, seed=seed + 2).astype(dtype)
        factor, added = random_numbers(outputs, seed=3), random_numbers(outputs, seed=4)
        self.matrix = matrix
        self.adapter = (a, b, 1.7, factor if share else None, added if bias else None)
        thin = exact(b) @ exact(a)
        self.weights = exact(matrix.numbers) + 1.7 * thin
        self.factor = exact(factor) if share else np.ones(outputs)
        self.added = exact(added) if bias else np.zeros(outputs)

    def __call__(self, x: mx.array) -> Exact:
        return (exact(x) @ self.weights.T) * self.factor + self.added


def exact(array: mx.array | npt.NDArray[np.float32]) -> Exact:
    if isinstance(array, mx.array):
        array = np.array(array.astype(mx.float32))
    return array.astype(np.float64)


def assert_near(got: mx.array, wanted: Exact) -> None:
    np.testing.assert_allclose(np.array(got), wanted, rtol=0, atol=2e-5 * wanted.std())


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("form", [FOUR_BITS, FORMATS[2]], ids=str)
def test_a_product_has_what_an_adapter_adds(
    native_unit: ModuleType, form: Format, dtype: mx.Dtype, count: int
) -> None:
    matrix = stored(form, 1500, 512)  # large enough for all threads
    x = random_numbers(1, count, 512)
    for share, bias in ((False, False), (True, False), (True, True)):
        changed = Changed(matrix, 16, dtype, share=share, bias=bias)
        got = native_unit.linear(x, *matrix.parts, adapter=changed.adapter)
        assert_near(got, changed(x))


@pytest.mark.parametrize("count", COUNTS)
def test_matrices_with_and_without_adapters_share_an_input(
    native_unit: ModuleType, count: int
) -> None:
    x = random_numbers(count, 256)
    large = Changed(stored(FOUR_BITS, 2048, 256), 8, mx.float32, share=False, bias=True)
    small = Changed(stored(FORMATS[1], 24, 256), 100, mx.bfloat16, share=True, bias=False, seed=5)
    plain = stored(FOUR_BITS, 40, 256)
    got = native_unit.linears(
        x,
        [large.matrix.parts, plain.parts, small.matrix.parts],
        [large.adapter, None, small.adapter],
    )
    assert_near(got[0], large(x))
    assert mx.array_equal(got[1], native_unit.linear(x, *plain.parts))
    assert_near(got[2], small(x))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "chosen", [[0, 1, 2, 1, 0], [1, 1], [2, 7, -1], [0, 1, 0, 1, 0, 1, 0, 1]], ids=str
)
def test_rows_have_what_the_adapter_adds_that_they_chose(
    native_unit: ModuleType, chosen: list[int], count: int
) -> None:
    """A number without an adapter is the matrix alone."""
    matrix, other = stored(FOUR_BITS, 1500, 512), stored(FOUR_BITS, 1500, 512)
    first = Changed(matrix, 16, mx.float32, share=False, bias=False)
    second = Changed(matrix, 5, mx.bfloat16, share=True, bias=True, seed=5)
    adapters = ([first.adapter, second.adapter, None], mx.array(chosen, mx.int32))
    x = random_numbers(len(chosen), count, 512)
    wanted = np.stack(
        [
            (first, second)[number](row)
            if number in (0, 1)
            else exact(row) @ exact(matrix.numbers).T
            for number, row in zip(chosen, x, strict=True)
        ]
    )
    assert_near(native_unit.linear(x, *matrix.parts, adapter=adapters), wanted)
    both = native_unit.linears(x, [matrix.parts, other.parts], [adapters, None])
    assert_near(both[0], wanted)
    gates = native_unit.gated(x, matrix.parts, other.parts, "silu", adapters, None)
    ups = exact(x) @ exact(other.numbers).T
    products = wanted / (1 + np.exp(-wanted)) * ups
    np.testing.assert_allclose(np.array(gates), products, rtol=0, atol=1e-4 * products.std())


@pytest.mark.parametrize(
    "chosen", [mx.zeros((3,), mx.int32), mx.zeros((2,), mx.int64), mx.zeros((0,), mx.int32)]
)
def test_choices_that_do_not_fit_the_rows_are_refused(native: ModuleType, chosen: mx.array) -> None:
    x, weight = mx.zeros((2, 1, 64)), mx.zeros((8, 64))
    adapter = (mx.zeros((4, 64)), mx.zeros((8, 4)), 1.0, None, None)
    with pytest.raises(ValueError, match="rows must choose from adapters"):
        native.linear(x, weight, adapter=([adapter], chosen))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("both", [True, False])
def test_a_gated_product_has_adapters(native_unit: ModuleType, both: bool, count: int) -> None:
    x = random_numbers(count, 512)
    gate = Changed(stored(FOUR_BITS, 1400, 512), 16, mx.float32, share=both, bias=both)
    up = Changed(stored(FOUR_BITS, 1400, 512), 4, mx.float32, share=False, bias=False, seed=6)
    got = native_unit.gated(
        x, gate.matrix.parts, up.matrix.parts, "silu", gate.adapter, up.adapter if both else None
    )
    gates = gate(x)
    ups = up(x) if both else exact(x) @ exact(up.matrix.numbers).T
    wanted = gates / (1 + np.exp(-gates)) * ups
    np.testing.assert_allclose(np.array(got), wanted, rtol=0, atol=1e-4 * wanted.std())


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [
        ((mx.zeros((4, 64)), None, 1.0, None, None), "both of its matrices or none"),
        ((mx.zeros((4, 32)), mx.zeros((8, 4)), 1.0, None, None), "does not fit its matrix"),
        ((mx.zeros((4, 64)), mx.zeros((8, 5)), 1.0, None, None), "does not fit its matrix"),
        ((mx.zeros((4, 64)), mx.zeros((9, 4)), 1.0, None, None), "does not fit its matrix"),
        ((mx.zeros((0, 64)), mx.zeros((8, 0)), 1.0, None, None), "does not fit its matrix"),
        ((mx.zeros((4, 64), mx.int32), mx.zeros((8, 4)), 1.0, None, None), "floating-point"),
        ((None, None, 1.0, mx.zeros(7), None), "for each output"),
        ((None, None, 1.0, None, mx.zeros((8, 1))), "for each output"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    native: ModuleType, adapter: Adapter, problem: str
) -> None:
    x, weight = mx.zeros((1, 64)), mx.zeros((8, 64))
    matrix = (weight, None, None, "", 0, 0)
    calls: list[Callable[[], object]] = [
        lambda: native.linear(x, weight, adapter=adapter),
        lambda: native.linears(x, [matrix], [adapter]),
        lambda: native.gated(x, matrix, matrix, "gelu", None, adapter),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=problem):
            call()


def test_limits_and_an_adapter_do_not_go_together(native: ModuleType) -> None:
    x, weight = mx.zeros((1, 64)), mx.zeros((8, 64))
    adapter = (mx.zeros((4, 64)), mx.zeros((8, 4)), 1.0, None, None)
    with pytest.raises(ValueError, match="has no limits"):
        native.linear(x, weight, clip=mx.zeros(4), adapter=adapter)
    with pytest.raises(ValueError, match="for each matrix, or none"):
        native.linears(x, [(weight, None, None, "", 0, 0)], [adapter, adapter])


EVERY = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    *("per_layer_input_gate", "per_layer_projection"),
)
KINDS = ("lora", "dora", "biased")


@pytest.fixture(scope="module")
def e2b() -> LocalModel:
    return load(str(PARITY / "e2b"), options=LoadOptions(dtype="float32"))


@pytest.fixture(scope="module", params=KINDS)
def adapted(
    request: pytest.FixtureRequest, e2b: LocalModel, tmp_path_factory: pytest.TempPathFactory
) -> LocalModel:
    """The model with an adapter for every matrix of its layers."""
    folder = tmp_path_factory.mktemp(request.param)
    layers = e2b.network.language_model.model
    changes = {
        f"language_model.model.{path}": each for path, each in matrices(layers, *EVERY).items()
    }
    write_peft(folder, changes, magnitude=1.3 if request.param == "dora" else None)
    if request.param == "biased":
        file = folder / "adapter_model.safetensors"
        tensors = dict(mx.load(str(file)))
        mx.eval(tensors)
        for name in [name for name in tensors if "lora_B" in name]:
            outputs = tensors[name].shape[0]
            bias = 0.1 * random_numbers(outputs, seed=outputs)
            tensors[name.replace("lora_B.weight", "lora_B.bias")] = bias
        write(folder, tensors, peft_config(lora_bias=True), file.name)
    found = change_adapter(e2b, str(folder))
    assert isinstance(found, LocalModel)
    return found


def logits(model: LocalModel, count: int) -> mx.array:
    """Of ``count`` tokens that follow three others."""
    network = model.network
    cache = network.language_model.make_cache()
    for length in (3, count):
        ids = mx.array([5 + i for i in range(length)])
        window = network.config.text.sliding_window
        masks = make_masks(length=length, offset=cache[0].offset, window=window)
        _, found, _ = run_tokens(network, cache, ids, None, masks)
    return found


def operations(model: LocalModel, count: int) -> list[str]:
    mx.eval(logits(model, count))  # records the layers
    return primitives(logits(model, count))


@pytest.mark.parametrize("count", COUNTS)
def test_decoder_layers_compute_what_the_layers_alone_do(
    native: ModuleType, adapted: LocalModel, count: int
) -> None:
    for layer in adapted.network.language_model.model.layers:
        for path, module in layer.named_modules():
            if isinstance(module, LowRankLinear):
                inputs = module.lora_a.shape[0]
                x = random_numbers(1, count, inputs, seed=count)
                wanted = np.array(LowRankLinear.__call__(module, x))
                np.testing.assert_allclose(
                    np.array(module(x)), wanted, rtol=0, atol=1e-5 * wanted.std(), err_msg=path
                )


@pytest.mark.parametrize("count", COUNTS)
def test_logits_are_those_without_the_native_part(
    native: ModuleType, adapted: LocalModel, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemma4cli.models import native_text

    got = np.array(logits(adapted, count))

    def one_by_one(x: mx.array, layers: list[LowRankLinear]) -> list[mx.array]:
        return [LowRankLinear.__call__(each, x) if "lora_a" in each else each(x) for each in layers]

    def gated(x: mx.array, gate: LowRankLinear, up: LowRankLinear) -> mx.array:
        gates, ups = one_by_one(x, [gate, up])
        inner = math.sqrt(2 / math.pi) * (gates + 0.044715 * gates**3)
        return gates / 2 * (1 + mx.tanh(inner)) * ups

    monkeypatch.setattr(native_text, "products", one_by_one)
    monkeypatch.setattr(native_text, "gated", gated)
    monkeypatch.setattr(native_text, "_FEW_TOKENS", 0)
    wanted = np.array(logits(adapted, count))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std())


@pytest.mark.parametrize("count", [1, 5])
def test_a_step_with_an_adapter_has_no_more_operations(
    native: ModuleType, e2b: LocalModel, adapted: LocalModel, count: int
) -> None:
    """The parts of its layers are recorded, as those of the model alone are."""
    plain, changed = (Counter(operations(model, count)) for model in (e2b, adapted))
    assert changed["G4Replay"] == plain["G4Replay"] > 0
    assert changed == plain


def test_an_adapter_is_read_in_the_type_of_its_file(
    native: ModuleType, e2b: LocalModel, tmp_path: Path
) -> None:
    changes = matrices(e2b.network, "q_proj", "down_proj", "lm_head", "embed_tokens")
    found = {}
    for dtype in (mx.bfloat16, mx.float32):
        rounded = {
            path: (a.astype(mx.bfloat16).astype(dtype), b.astype(mx.bfloat16).astype(dtype))
            for path, (a, b) in changes.items()
        }
        model = change_adapter(e2b, str(write_peft(tmp_path / str(dtype), rounded)))
        assert isinstance(model, LocalModel)
        layer = model.network.language_model.model.layers[0].mlp.down_proj
        assert layer.lora_a.dtype == layer.lora_b.dtype == dtype
        found[dtype] = np.array(logits(model, 2))
    narrow, wide = found[mx.bfloat16], found[mx.float32]
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-4 * wide.std())


@pytest.mark.parametrize("of_rows", [True, False])
def test_a_head_has_what_an_adapter_adds(native: ModuleType, of_rows: bool) -> None:
    from gemma4cli.models.native_layers import NativeEmbedding
    from gemma4cli.models.native_low_rank import NativeLowRankEmbedding

    table = NativeEmbedding()
    table.weight = random_numbers(300, 64)
    a, b = random_numbers(300, 4, seed=1), random_numbers(4, 64, seed=2)
    layer = NativeLowRankEmbedding(table, a, b, 0.5, random_numbers(300 if of_rows else 64, seed=3))
    x = random_numbers(1, 2, 64, seed=4)
    wanted = LowRankEmbedding.as_linear(layer.eval(), x)
    assert mx.allclose(layer.as_linear(x), wanted, atol=1e-4, rtol=1e-4).item()
