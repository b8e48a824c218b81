"""Memory and device as each operating system and backend reports them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import mlx.core as mx
import pytest

from gemma4cli.errors import BackendMissingError
from gemma4cli.machine import device as machine
from gemma4cli.machine.device import Device, Memory
from gemma4cli.options import DType

VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10.
Pages active:                            500.
Pages inactive:                           20.
Pages speculative:                         3.
Pages throttled:                           0.
Pages wired down:                        100.
Pages purgeable:                           4.
"Translation faults":                 123456.
"""


def test_free_memory_on_macos_is_that_of_free_and_reclaimable_pages() -> None:
    assert machine.free_of_vm_stat(VM_STAT) == 37 * 16384


def test_output_of_vm_stat_without_page_counts_gives_no_number() -> None:
    assert machine.free_of_vm_stat("vm_stat: no\n") is None


def test_free_memory_on_linux_is_mem_available(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       2000 kB\nMemFree:  5 kB\nMemAvailable:    1000 kB\n")
    assert machine._linux_free(path) == 1_024_000
    assert machine._linux_free(tmp_path / "none") is None


def test_a_container_limits_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_limits", lambda: [(5000, 1400)])
    assert (machine.system_total(), machine.system_free()) == (5000, 3600)


def memory_on(monkeypatch: pytest.MonkeyPatch, backend: str, info: dict[str, object]) -> Memory:
    found = Device(backend=backend, name="")  # type: ignore[arg-type]
    monkeypatch.setattr(machine, "device", lambda: found)
    monkeypatch.setattr(machine, "system_total", lambda: 1000)
    monkeypatch.setattr(machine, "system_free", lambda: 600)
    monkeypatch.setattr(mx, "device_info", lambda: info)
    return machine.model_memory()


def test_on_a_cpu_models_may_use_a_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_on(monkeypatch, "CPU", {}) == Memory(total=1000, free=600, limit=700)


def test_on_metal_models_may_use_what_the_system_recommends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = {"memory_size": 1000, "max_recommended_working_set_size": 750}
    assert memory_on(monkeypatch, "Metal", info) == Memory(total=1000, free=600, limit=750)


def test_on_cuda_models_may_use_what_mlx_takes_of_the_cards_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = {"total_memory": 5000, "free_memory": 4000}
    assert memory_on(monkeypatch, "CUDA", info) == Memory(total=5000, free=4000, limit=4750)


@pytest.mark.parametrize("backend", ["Metal", "CUDA", "CPU"])
def test_the_limit_for_models_is_known_without_asking_what_is_free(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Mac that takes a process, and a run would start one for each of its checks."""

    def fail() -> int:
        raise AssertionError("asked what is free")

    monkeypatch.setattr(machine, "system_free", fail)
    monkeypatch.setattr(machine, "system_total", lambda: 1000)
    info = {"total_memory": 900, "max_recommended_working_set_size": 750}
    monkeypatch.setattr(mx, "device_info", lambda: info)
    found = Device(backend=backend, name="")  # type: ignore[arg-type]
    limits = {"Metal": 750, "CUDA": 855, "CPU": 700}
    assert machine.memory_limit(found) == limits[backend]
    assert machine.memory_total(found) == (900 if backend == "CUDA" else 1000)


def test_the_device_of_this_machine_has_a_name_and_is_what_mlx_uses() -> None:
    found = machine.device()
    assert found is not None and found.name
    assert (found.backend == "CPU") == (mx.default_device() == mx.Device(mx.cpu))


def test_the_fast_blas_is_loaded_before_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX keeps the BLAS that it finds when it is imported."""
    steps: list[str] = []
    monkeypatch.setattr(machine, "require_backend", lambda: steps.append("backend"))
    monkeypatch.setattr(machine, "import_module", lambda name: steps.append(name) or mx)
    machine.device()
    assert steps[:2] == ["backend", "mlx.core"]


def test_without_a_backend_there_is_no_device_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise BackendMissingError("libmlx.so")

    monkeypatch.setattr(machine, "require_backend", fail)
    assert machine.device() is None
    assert machine.float_size() == 4
    assert machine.model_memory().limit > 0


@pytest.mark.parametrize(
    ("backend", "native", "dtype", "size", "item"),
    [
        ("CPU", False, "auto", 4, 4),
        ("CPU", False, "bfloat16", 2, 2),
        ("CPU", False, "float32", 4, 4),
        ("CPU", True, "auto", None, 4),
        ("CPU", True, "bfloat16", None, 4),
        ("CPU", True, "float16", 2, 2),
        ("Metal", False, "auto", None, 2),
        ("CUDA", False, "bfloat16", 2, 2),
        ("CUDA", False, "float32", 4, 4),
    ],
)
def test_weights_are_widened_where_the_device_needs_it_or_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch,
    backend: machine.Backend,
    native: bool,
    dtype: DType,
    size: int | None,
    item: int,
) -> None:
    monkeypatch.setattr(machine, "device", lambda: Device(backend=backend, name=""))
    monkeypatch.setattr(machine, "native_in_use", lambda chosen: native and chosen != "float16")
    assert machine.float_size(dtype) == size
    assert machine.numerics(dtype).item == item


@pytest.mark.parametrize("loaded", ["libopenblas.so.0", None])
def test_fast_blas_reports_a_library_that_is_already_loaded(
    monkeypatch: pytest.MonkeyPatch, loaded: str | None
) -> None:
    def look(name: str, mode: int) -> None:
        if name != loaded:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", look)
    assert machine.fast_blas() == loaded


def test_what_is_resident_is_told_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "status"
    path.write_text("VmHWM:\t  900 kB\nRssAnon:\t  300 kB\nRssFile:\t   20 kB\nRssShmem:\t 5 kB\n")
    assert machine.resident(path) == (300 * 1024, 20 * 1024)
    assert machine.resident(tmp_path / "none") == (0, 0)
