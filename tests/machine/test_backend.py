"""Importing MLX, choosing its BLAS, and the settings and dtype for the device."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.errors import BackendMissingError
from gemma4cli.machine import backend
from gemma4cli.native.extension import Extension
from gemma4cli.options import DType


def test_a_missing_backend_is_an_error_that_names_the_packages_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> object:
        raise ImportError("libmlx.so: cannot open shared object file\nmore")

    monkeypatch.setattr(backend, "import_module", fail)
    with pytest.raises(BackendMissingError) as caught:
        backend.require_backend()
    assert "'mlx[cpu]'" in str(caught.value) and "'mlx[cuda13]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def libraries_tried(monkeypatch: pytest.MonkeyPatch, there: set[str]) -> list[str]:
    """The libraries that are tried if those in ``there`` can be loaded."""
    tried: list[str] = []

    def load(name: str, mode: int) -> None:
        assert mode == ctypes.RTLD_GLOBAL
        tried.append(name)
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.delitem(sys.modules, "mlx.core")
    monkeypatch.setattr(backend, "import_module", lambda name: None)
    backend.require_backend()
    return tried


def test_first_fast_blas_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    first, second, *_ = backend.FAST_BLAS
    assert libraries_tried(monkeypatch, {second}) == [first, second]


def test_without_a_fast_blas_mlx_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert libraries_tried(monkeypatch, set()) == list(backend.FAST_BLAS)


def test_on_a_mac_no_other_blas_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert libraries_tried(monkeypatch, set()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux loads another BLAS")
def test_results_do_not_depend_on_the_blas() -> None:
    """Two processes, one with MLX's own BLAS, compute the same product up to rounding."""
    code = """
import json, sys
from gemma4cli.machine.backend import require_backend
require_backend(fast_blas=sys.argv[1] == "fast")
import mlx.core as mx
x = mx.random.normal((64, 256), key=mx.random.key(1))
y = mx.random.normal((256, 96), key=mx.random.key(2))
with mx.stream(mx.cpu):
    print(json.dumps((x @ y).flatten().tolist()))
"""
    products = []
    for blas in ("fast", "own"):
        done = subprocess.run(
            [sys.executable, "-c", code, blas], capture_output=True, text=True, check=True
        )
        products.append(json.loads(done.stdout))
    assert products[0] == pytest.approx(products[1], abs=1e-3)


@pytest.mark.usefixtures("without_native")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_dtype_option_is_used_as_given(dtype: str) -> None:
    assert backend.weights_dtype(dtype) == dtype  # type: ignore[arg-type]


@pytest.mark.parametrize(("cpu", "expected"), [(True, "float32"), (False, None)])
def test_the_auto_dtype_is_float32_on_a_cpu_and_the_checkpoints_elsewhere(
    cpu: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "on_cpu", lambda: cpu)
    assert backend.weights_dtype("auto") == expected


def test_a_float32_product_has_float32_precision() -> None:
    factors = np.random.default_rng(0).standard_normal((2, 256, 256)).astype(np.float32)
    product = np.array(mx.array(factors[0]) @ mx.array(factors[1]))
    exact = factors[0].astype(np.float64) @ factors[1].astype(np.float64)
    assert np.linalg.norm(product - exact) < 1e-5 * np.linalg.norm(exact)


def test_the_native_part_computes_in_float32_for_every_dtype_but_float16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "on_cpu", lambda: True)
    monkeypatch.setattr(backend, "extension", lambda: Extension(module=ModuleType("native")))
    dtypes: list[DType] = ["auto", "float32", "bfloat16", "float16"]
    names = [backend.weights_dtype(dtype) for dtype in dtypes]
    assert names == ["float32", "float32", "float32", "float16"]
