"""The device that MLX computes on, and what it wants."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from importlib import import_module

from ..errors import BackendMissingError
from ..options import DType

logger = logging.getLogger(__name__)

FAST_BLAS = ("libopenblas.so.0", "libmkl_rt.so.2", "libblis.so.4")
"""Libraries that multiply matrices faster than the one in MLX's CPU wheel, best first."""


def require_backend(*, fast_blas: bool = True) -> None:
    """Import MLX, or raise BackendMissingError; call before importing the engine."""
    if fast_blas:
        _prefer_fast_blas()
    try:
        import_module("mlx.core")
    except ImportError as exc:
        raise BackendMissingError(str(exc).splitlines()[0]) from exc


def _prefer_fast_blas() -> None:
    """On Linux, let MLX's CPU backend multiply with the system's fast BLAS, where there is one.

    The CPU wheel brings the reference BLAS, dozens of times slower for a prompt's matrices
    (docs/log.md). Loaded first and globally, another one takes its place; other users of BLAS,
    numpy among them, have their own under other names.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return
    for name in FAST_BLAS:
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        logger.debug("multiplying with %s", name)
        return


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    mx = import_module("mlx.core")
    return bool(mx.default_device() == mx.Device(mx.cpu))


def prepare_backend() -> None:
    """Settings of the process that suit the device.

    On a CPU MLX compiles each fused kernel with the system's C++ compiler, over a second apiece
    and to no gain in speed, so fusing is switched off there. On Metal the weights are kept
    resident, as far as the system recommends; otherwise large models are paged in and out.
    Products of float32 are float32's: with nothing set MLX rounds their factors to TF32's ten bits
    on GPUs that multiply those faster. It looks once, at the first product.
    """
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
    mx = import_module("mlx.core")
    if on_cpu():
        mx.disable_compile()
    elif mx.metal.is_available():
        mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))


def weights_dtype(option: DType) -> str | None:
    """The name of the dtype to compute in, or None for the checkpoint's own.

    A CPU multiplies bfloat16 many times slower than float32 (docs/log.md), so "auto" is float32
    there.
    """
    if option != "auto":
        return option
    return "float32" if on_cpu() else None
