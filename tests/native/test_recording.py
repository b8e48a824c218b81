"""Steps of decoding that are recorded once and computed as one."""

from __future__ import annotations

from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

WEIGHT = mx.random.normal((8, 4), key=mx.random.key(1))


def _steps(native: ModuleType, x: mx.array, residual: mx.array) -> list[mx.array]:
    """Two outputs, of which one is on the way to the other."""
    product = native.linear(x, WEIGHT, None, None, "", 0, 0)
    normed = native.rms_norm(product, None, 1e-6, residual)
    return [normed.reshape(1, 1, 2, 4), product]


def _recorded(native: ModuleType) -> object:
    examples = [mx.zeros((1, 1, 4)), mx.zeros((1, 1, 8))]
    mx.eval(examples)
    return native.Recording(examples, _steps(native, *examples))


def test_a_recording_computes_what_the_steps_would(native: ModuleType) -> None:
    recording = _recorded(native)
    for seed in range(3):
        inputs = [mx.random.normal((1, 1, n), key=mx.random.key(seed)) for n in (4, 8)]
        for got, wanted in zip(recording(inputs), _steps(native, *inputs), strict=True):
            assert got.shape == wanted.shape
            assert np.array_equal(got, wanted)


def test_inputs_may_be_steps_themselves_and_lie_apart(native: ModuleType) -> None:
    recording = _recorded(native)
    x = mx.random.normal((1, 1, 8))[..., ::2]
    residual = native.activate("gelu", mx.random.normal((1, 1, 8)))
    got = recording([x, residual])
    for one, wanted in zip(got, _steps(native, x, residual), strict=True):
        assert np.array_equal(one, wanted)


def test_a_recording_can_be_replayed_within_one_graph(native: ModuleType) -> None:
    recording = _recorded(native)
    x, residual = mx.random.normal((1, 1, 4)), mx.random.normal((1, 1, 8))
    first, _ = recording([x, residual])
    got, _ = recording([x, first.reshape(1, 1, 8)])
    direct, _ = _steps(native, x, residual)
    wanted, _ = _steps(native, x, direct.reshape(1, 1, 8))
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([mx.zeros((1, 1, 4))], id="too few"),
        pytest.param([mx.zeros((1, 2, 4)), mx.zeros((1, 1, 8))], id="another shape"),
        pytest.param([mx.zeros((1, 1, 4)), mx.zeros((1, 1, 8), mx.int32)], id="another type"),
        pytest.param([mx.zeros((1, 1, 4)), *[mx.zeros((1, 1, 8))] * 2], id="too many"),
    ],
)
def test_other_inputs_are_refused(native: ModuleType, inputs: list[mx.array]) -> None:
    with pytest.raises(ValueError, match="not like those of the recording"):
        _recorded(native)(inputs)


def test_steps_of_mlx_cannot_be_recorded(native: ModuleType) -> None:
    x = mx.zeros((1, 1, 4))
    mx.eval(x)
    with pytest.raises(ValueError, match="Exp cannot be recorded"):
        native.Recording([x], [native.activate("gelu", mx.exp(x))])


def test_what_does_not_depend_on_the_inputs_cannot_be_recorded(native: ModuleType) -> None:
    x = mx.zeros((1, 1, 4))
    mx.eval(x)
    with pytest.raises(ValueError, match="does not depend"):
        native.Recording([x], [native.activate("gelu", mx.ones(4))])


def test_arrays_that_are_not_inputs_are_kept_as_they_were(native: ModuleType) -> None:
    x = mx.zeros((1, 1, 4))
    mx.eval(x)
    residual = mx.ones((1, 1, 4)) * 3  # not computed yet
    recording = native.Recording([x], [native.rms_norm(x, None, 1e-6, residual)])
    residual = residual + 1
    ((got,),) = (recording([mx.zeros((1, 1, 4))]),)
    assert np.array_equal(got, np.full((1, 1, 4), 3))


def test_unstacked_parts_are_those_of_an_axis(native: ModuleType) -> None:
    x = mx.random.normal((2, 3, 5, 8))
    parts = native.unstack(x)
    assert len(parts) == 5
    for i, part in enumerate(parts):
        assert np.array_equal(part, x[:, :, i])
    assert np.array_equal(native.unstack(x[:, ::2])[1], x[:, ::2, 1])
    with pytest.raises(ValueError, match="unstack"):
        native.unstack(mx.zeros((2, 3, 8)))


def test_a_recording_lasts_until_its_work_is_done(native: ModuleType) -> None:
    x = mx.zeros((1, 1, 1 << 20))
    mx.eval(x)
    slow = x
    for _ in range(20):
        slow = native.activate("tanh", slow)
    recording = native.Recording([x], [native.rms_norm(slow, None, 1.0, mx.ones(x.shape) * 3)])
    (got,) = recording([x])
    del recording
    mx.async_eval(got)
    # Takes memory that was freed too early.
    noise = mx.array(np.full(x.shape, np.nan, np.float32))
    assert np.array_equal(got, np.full(x.shape, 3))
    del noise
