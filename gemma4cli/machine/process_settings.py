"""What MLX and the native part keep for the whole process: set while a model is loaded.

``SETTINGS.hold()`` sets them, and they are put back when the last hold is gone:

    MLX_ENABLE_TF32=0      by default MLX rounds the factors of a float32 product to TF32's ten
                           mantissa bits on GPUs that support it
    no fused kernels       on a CPU MLX compiles each with the system's C++ compiler, which takes
                           over a second per kernel and gains no speed
    the wired limit        on Metal weights stay resident up to the size that the system
                           recommends; otherwise large models are paged in and out
    the cache limit        on a GPU MLX keeps few freed buffers; by default it keeps all that the
                           device can hold
    bfloat16 products      of the native part, as the newest loaded model wants them

MLX reads MLX_ENABLE_TF32 once, at the first product of the process. So what the variable is then
holds to the end of the process, and a product before the first model is loaded decides it.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from importlib import import_module
from itertools import count
from threading import RLock

from ..native.extension import extension
from ..options import DType
from .backend import native_in_use, on_cpu
from .streams import end_streams_at_exit

_TF32 = "MLX_ENABLE_TF32"
_NO_COMPILE = "MLX_DISABLE_COMPILE"
"""With any value MLX starts without compiling."""
_CACHED_SHARE = 1 / 8
"""Share of a GPU's memory that freed buffers may take: a chunk of a prompt uses about as much."""


class Hold:
    """Settings hold at least as long as this object lives."""

    __slots__ = ("__weakref__",)


class ProcessSettings:
    """The settings of the module's docstring, counted by who holds them."""

    def __init__(self) -> None:
        self._lock = RLock()  # a finalizer may run while it is held
        self._numbers = count()
        self._rounded: dict[int, bool] = {}
        self._rounds = False
        self._undo = ExitStack()

    def hold(self, *, rounded: bool = False) -> Hold:
        """Set everything, until the returned object and all others are gone.

        ``rounded``: large products of the native part round their factors to bfloat16.
        """
        made = Hold()
        end_streams_at_exit()
        with self._lock:
            if not self._rounded:
                self._undo = _set()
            number = next(self._numbers)
            self._rounded[number] = rounded
            self._round()
        weakref.finalize(made, self._release, number).atexit = False
        return made

    def _release(self, number: int) -> None:
        with self._lock:
            del self._rounded[number]
            self._round()
            if not self._rounded:
                self._undo.close()

    def _round(self) -> None:
        wanted = next(reversed(self._rounded.values()), False)
        if wanted != self._rounds and (native := extension().module) is not None:
            native.set_bf16_products(wanted)
            self._rounds = wanted


SETTINGS = ProcessSettings()
"""Those of this process."""


def hold_settings(dtype: DType) -> Hold:
    """The settings for a model that is loaded with this dtype."""
    return SETTINGS.hold(rounded=native_in_use(dtype) and dtype == "bfloat16")


def _set() -> ExitStack:
    """Change the settings; closing the stack puts back what was changed."""
    undo = ExitStack()
    if _TF32 not in os.environ:
        os.environ[_TF32] = "0"
        undo.callback(os.environ.pop, _TF32, None)
    mx = import_module("mlx.core")
    if on_cpu():
        mx.disable_compile()
        if _NO_COMPILE not in os.environ:  # MLX has no function to ask
            undo.callback(mx.enable_compile)
        return undo
    info = mx.device_info()
    working_set = int(info.get("max_recommended_working_set_size") or 0)
    if mx.metal.is_available() and working_set:
        undo.callback(_unwire, mx.set_wired_limit(working_set))
    if size := working_set or int(info.get("total_memory") or 0):
        undo.callback(mx.set_cache_limit, mx.set_cache_limit(int(_CACHED_SHARE * size)))
    return undo


def _unwire(limit: int) -> None:
    """Set an earlier wired limit, once nothing is computed any more."""
    mx = import_module("mlx.core")
    mx.synchronize()
    mx.set_wired_limit(limit)
