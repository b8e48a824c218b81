"""What the device wants, and what is said where there is none."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.errors import BackendMissingError
from gemma4cli.machine import backend


def test_missing_backend_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ImportError("libmlx.so: cannot open shared object file\nmore")

    monkeypatch.setattr(backend, "import_module", fail)
    with pytest.raises(BackendMissingError) as caught:
        backend.require_backend()
    assert "gemma4cli[cpu]" in str(caught.value) and "gemma4cli[cuda]" in str(caught.value)
    assert "\n" not in str(caught.value)


def libraries_tried(monkeypatch: pytest.MonkeyPatch, there: set[str]) -> list[str]:
    """What is asked of the loader when the libraries of ``there`` can be loaded."""
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


def test_no_fast_blas_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert libraries_tried(monkeypatch, set()) == list(backend.FAST_BLAS)


def test_a_mac_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert libraries_tried(monkeypatch, set()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux loads another BLAS")
def test_another_blas_changes_no_result() -> None:
    """Two processes, one with MLX's own BLAS: the same product within float32's reach."""
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_named_dtype_is_taken(dtype: str) -> None:
    assert backend.weights_dtype(dtype) == dtype  # type: ignore[arg-type]


@pytest.mark.parametrize(("cpu", "expected"), [(True, "float32"), (False, None)])
def test_auto_dtype(cpu: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "on_cpu", lambda: cpu)
    assert backend.weights_dtype("auto") == expected


@pytest.mark.parametrize(("given", "taken"), [(None, "0"), ("1", "1")])
def test_float32_is_not_rounded_unless_the_user_wants_it(
    given: str | None, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    if given is not None:
        monkeypatch.setenv("MLX_ENABLE_TF32", given)
    backend.prepare_backend()
    assert os.environ["MLX_ENABLE_TF32"] == taken


def test_a_product_of_float32_is_exact_to_float32() -> None:
    factors = np.random.default_rng(0).standard_normal((2, 256, 256)).astype(np.float32)
    product = np.array(mx.array(factors[0]) @ mx.array(factors[1]))
    exact = factors[0].astype(np.float64) @ factors[1].astype(np.float64)
    assert np.linalg.norm(product - exact) < 1e-5 * np.linalg.norm(exact)
