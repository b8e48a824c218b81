"""This machine's compute device and memory, as the operating system and MLX report them."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ..errors import BackendMissingError
from ..options import DType
from .address_space import address_limit, addresses_free
from .backend import FAST_BLAS, native_in_use, require_backend
from .control_groups import memory_limits, text_of
from .memory import Backend, Numerics

_CPU_SHARE = 0.7
"""Share of the machine's memory that a model may use if the system recommends no limit."""
_CUDA_SHARE = 0.95
"""Share of a card's memory that MLX allocates before it frees what it cached."""
_PAGES_FREE = ("free", "inactive", "speculative", "purgeable")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """The memory that holds weights, in bytes.

    ``limit`` is the most that models may use, ``free`` is what can be allocated now. On Metal the
    system frees memory of other programs on demand, so ``free`` is shown there but not enforced.
    """

    total: int
    free: int
    limit: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """The device that MLX computes on; ``name`` is the vendor's name for it."""

    backend: Backend
    name: str


def device() -> Device | None:
    """The device, or None if MLX has no backend."""
    try:
        require_backend()  # not a plain import: the fast BLAS must be loaded before MLX
    except BackendMissingError:
        return None
    mx = import_module("mlx.core")
    backend: Backend = "CPU"
    if mx.default_device() != mx.Device(mx.cpu):
        backend = "Metal" if mx.metal.is_available() else "CUDA"
    name = mx.device_info().get("device_name") or mx.device_info().get("architecture")
    return Device(backend=backend, name=str(name or "unknown"))


def is_cpu(found: Device | None) -> bool:
    """Whether MLX computes on the CPU; True also without a backend."""
    return found is None or found.backend == "CPU"


def fast_blas() -> str | None:
    """The BLAS that MLX's CPU backend uses instead of its own, if any; only on Linux."""
    for name in FAST_BLAS:
        try:
            ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        except OSError:
            continue
        return name
    return None


def numerics(dtype: DType = "auto") -> Numerics:
    """How models that are loaded as ``dtype`` are computed."""
    found = device()
    backend = "CPU" if found is None else found.backend
    native = found is not None and native_in_use(dtype)
    wide = native or (backend == "CPU" if dtype == "auto" else dtype == "float32")
    return Numerics(item=4 if wide else 2, backend=backend, native=native)


def float_size(dtype: DType = "auto") -> int | None:
    """Bytes per floating-point weight loaded as ``dtype``; None keeps the checkpoint's size."""
    computed = numerics(dtype)
    kept = computed.native or (dtype == "auto" and not computed.on_cpu)
    return None if kept else computed.item


def model_memory() -> Memory:
    """The memory available to models on this machine, and how much of it is free now."""
    found = device()
    total = memory_total(found)
    free = _card("free_memory") if found is not None and found.backend == "CUDA" else None
    if free is None:
        free = min(total, system_free())
    return Memory(total=total, free=free, limit=memory_limit(found))


def memory_total(found: Device | None) -> int:
    """Bytes of the memory that holds weights: the card's on CUDA, elsewhere the machine's."""
    if found is not None and found.backend == "CUDA":
        return _card("total_memory") or _card("memory_size") or system_total()
    return system_total()


def memory_limit(found: Device | None) -> int:
    """The most that models may use, in bytes; unlike ``model_memory`` it starts no program."""
    if found is not None and found.backend == "CUDA":
        return int(_CUDA_SHARE * memory_total(found))
    if found is not None and found.backend == "Metal":
        return _card("max_recommended_working_set_size") or int(_CPU_SHARE * system_total())
    return int(_CPU_SHARE * system_total())


def _card(key: str) -> int | None:
    """A size that MLX reports of the device; None if it reports none."""
    return int(import_module("mlx.core").device_info().get(key) or 0) or None


def taken() -> int:
    """Bytes that MLX has allocated in this process, both in use and cached."""
    mx = import_module("mlx.core")
    return int(mx.get_active_memory()) + int(mx.get_cache_memory())


def resident(path: Path = Path("/proc/self/status")) -> tuple[int, int]:
    """Bytes of this process in memory: what it allocated, pages of files. Zeros but on Linux."""
    sizes = dict(re.findall(r"^(RssAnon|RssFile):\s+(\d+) kB", text_of(path), re.MULTILINE))
    allocated, of_files = (int(sizes.get(name, 0)) * 1024 for name in ("RssAnon", "RssFile"))
    return allocated, of_files


def system_total() -> int:
    """Bytes of the machine's memory; inside a container, of the container's.

    A limit on the address space is one on memory: what is allocated needs addresses.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [limit for limit, _ in memory_limits()]
    return min([total, *limits, *filter(None, [address_limit()])])


def system_free() -> int:
    """Bytes of ``system_total`` that can be allocated now."""
    free = _mac_free() if sys.platform == "darwin" else _linux_free()
    found = [] if free is None else [free]
    found += [max(0, limit - used) for limit, used in memory_limits()]
    if (unused := addresses_free()) is not None:
        found.append(unused)
    return min([system_total(), *found])


def _linux_free(path: Path = Path("/proc/meminfo")) -> int | None:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text_of(path), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _mac_free() -> int | None:
    try:
        done = subprocess.run(
            ["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return free_of_vm_stat(done.stdout)


def free_of_vm_stat(text: str) -> int | None:
    """Bytes that macOS can allocate, parsed from the output of ``vm_stat``."""
    page = re.search(r"page size of (\d+) bytes", text)
    pages = {name: int(count) for name, count in re.findall(r"^Pages (\w+):\s+(\d+)\.", text, re.M)}
    if page is None or "free" not in pages:
        return None
    return int(page.group(1)) * sum(pages.get(name, 0) for name in _PAGES_FREE)
