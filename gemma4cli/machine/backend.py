"""Import MLX, and what follows from the device it computes on.

``FAST_BLAS`` and ``_prefer_fast_blas`` serve MLX's CPU backend on Linux only.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from importlib import import_module

from ..errors import BackendMissingError
from ..native.extension import extension
from ..options import DType
from .address_space import address_limit

logger = logging.getLogger(__name__)

FAST_BLAS = ("libopenblas.so.0", "libmkl_rt.so.2", "libblis.so.4")
"""BLAS libraries that are faster than the one in MLX's CPU wheel, best first."""

_ROOM_FOR_BLAS = 4_000_000_000
"""Bytes of addresses below which OpenBLAS may wait forever for its buffers."""


def require_backend(*, fast_blas: bool = True) -> None:
    """Import MLX, or raise BackendMissingError; call before importing the engine."""
    if fast_blas:
        _prefer_fast_blas()
    try:
        import_module("mlx.core")
    except ImportError as exc:
        raise BackendMissingError(str(exc).splitlines()[0]) from exc


def _prefer_fast_blas() -> None:
    """On Linux, make MLX's CPU backend use the system's fast BLAS if one is installed.

    The CPU wheel bundles the reference BLAS, which is dozens of times slower on a prompt's matrices
    (docs/log.md). A library loaded first and globally takes precedence over it. Other users of
    BLAS, including numpy, bundle their own under different names.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return
    limit = address_limit()
    if limit is not None and limit < _ROOM_FOR_BLAS:
        return
    for name in FAST_BLAS:
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        logger.debug("using BLAS from %s", name)
        return


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    mx = import_module("mlx.core")
    return bool(mx.default_device() == mx.Device(mx.cpu))


def weights_dtype(option: DType) -> str | None:
    """The name of the dtype to compute in, or None to keep the checkpoint's dtype.

    On a CPU "auto" means float32, because MLX multiplies bfloat16 many times slower there
    (docs/log.md), and so does "bfloat16" on the native part, which only rounds the factors of large
    products to it.
    """
    if native_in_use(option):
        return "float32"
    if option != "auto":
        return option
    return "float32" if on_cpu() else None


def native_in_use(option: DType = "auto") -> bool:
    """Whether models that are loaded with this dtype run on the native part's kernels."""
    return option != "float16" and on_cpu() and extension().module is not None
