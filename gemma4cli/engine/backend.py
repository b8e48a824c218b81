"""The device that MLX computes on, and what it wants."""

from __future__ import annotations

from importlib import import_module

from ..errors import BackendMissingError
from ..options import DType


def require_backend() -> None:
    """Raise BackendMissingError where MLX cannot be imported; call before importing the engine."""
    try:
        import_module("mlx.core")
    except ImportError as exc:
        raise BackendMissingError(str(exc).splitlines()[0]) from exc


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    mx = import_module("mlx.core")
    return bool(mx.default_device() == mx.Device(mx.cpu))


def prepare_backend() -> None:
    """Settings of the process that a CPU wants and a GPU does not.

    On a CPU MLX compiles each fused kernel with the system's C++ compiler, over a second apiece
    and to no gain in speed, so fusing is switched off there.
    """
    if on_cpu():
        import_module("mlx.core").disable_compile()


def weights_dtype(option: DType) -> str | None:
    """The name of the dtype to compute in, or None for the checkpoint's own.

    A CPU multiplies bfloat16 many times slower than float32 (docs/log.md), so "auto" is float32
    there.
    """
    if option != "auto":
        return option
    return "float32" if on_cpu() else None
