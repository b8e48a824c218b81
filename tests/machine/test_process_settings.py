"""What loading a model changes in the process, and that it is put back when the model is gone."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import pytest

from gemma4cli.api import load
from gemma4cli.machine import process_settings
from gemma4cli.machine.process_settings import ProcessSettings
from gemma4cli.native.extension import Extension

TF32 = "MLX_ENABLE_TF32"


def compiles() -> bool:
    """Whether MLX compiles functions now: a compiled one is not called again for like inputs."""
    calls = []

    def increment(x: mx.array) -> mx.array:
        calls.append(x)
        return x + 1

    compiled = mx.compile(increment)
    counts = []
    for _ in range(3):
        compiled(mx.array(0))
        counts.append(len(calls))
    return counts[1] == counts[2]


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process as it is before any model is loaded; the other tests' settings come back."""
    monkeypatch.delenv(TF32, raising=False)
    mx.enable_compile()
    yield
    if process_settings.on_cpu():
        mx.disable_compile()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ProcessSettings:
    """New ones that models are loaded with."""
    made = ProcessSettings()
    monkeypatch.setattr(process_settings, "SETTINGS", made)
    return made


def test_the_settings_hold_while_anybody_holds_them(settings: ProcessSettings) -> None:
    first, second = settings.hold(), settings.hold()
    assert os.environ[TF32] == "0" and compiles() != process_settings.on_cpu()
    del first
    assert os.environ[TF32] == "0" and compiles() != process_settings.on_cpu()
    del second
    assert TF32 not in os.environ and compiles()
    third = settings.hold()
    assert os.environ[TF32] == "0"
    del third
    assert TF32 not in os.environ


def test_what_the_user_has_set_stays(
    settings: ProcessSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TF32, "1")
    monkeypatch.setenv("MLX_DISABLE_COMPILE", "1")
    mx.disable_compile()
    held = settings.hold()
    assert os.environ[TF32] == "1"
    del held
    assert os.environ[TF32] == "1" and not compiles()


def test_a_run_on_a_cpu_compiles_no_kernels(tmp_path: Path) -> None:
    """MLX would leave their sources and libraries in the folder for temporary files."""
    if not process_settings.on_cpu():
        pytest.skip("a GPU compiles them")
    command = [sys.executable, "-m", "gemma4cli", "chat", "-m", "tiny", "-p", "Hello", "--no-log"]
    env = {**os.environ, "TMPDIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    env.pop("MLX_DISABLE_COMPILE", None)
    subprocess.run(command, env=env, check=True, capture_output=True)
    assert [each.name for each in tmp_path.iterdir() if each.name != "state"] == []


def test_the_settings_live_as_long_as_the_model(settings: ProcessSettings) -> None:
    model = load("tiny")
    assert os.environ[TF32] == "0"
    del model
    gc.collect()
    assert TF32 not in os.environ and compiles()


def test_a_model_that_cannot_be_loaded_leaves_nothing(
    settings: ProcessSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr("gemma4cli.engine.loading.load_network", fail)
    with pytest.raises(ValueError):
        load("tiny")
    gc.collect()
    assert TF32 not in os.environ and compiles()


class Limit:
    """A limit of MLX's, of which setting a new one returns the old."""

    def __init__(self) -> None:
        self.values = [100]

    def set(self, limit: int) -> int:
        self.values.append(limit)
        return self.values[-2]


@pytest.mark.parametrize(
    ("info", "wired", "cached"),
    [
        ({"max_recommended_working_set_size": 16_000}, [100, 16_000], [100, 2_000]),  # Metal
        ({"total_memory": 80_000}, [100], [100, 10_000]),  # CUDA
        ({}, [100], [100]),
    ],
    ids=["Metal", "CUDA", "unknown"],
)
def test_a_gpus_weights_are_wired_and_freed_buffers_take_an_eighth_of_its_memory(
    info: dict[str, int],
    wired: list[int],
    cached: list[int],
    settings: ProcessSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, cache = Limit(), Limit()
    metal = "max_recommended_working_set_size" in info
    monkeypatch.setattr(process_settings, "on_cpu", lambda: False)
    monkeypatch.setattr(mx, "metal", SimpleNamespace(is_available=lambda: metal))
    monkeypatch.setattr(mx, "device_info", lambda: info)
    monkeypatch.setattr(mx, "set_wired_limit", wire.set)
    monkeypatch.setattr(mx, "set_cache_limit", cache.set)
    held = settings.hold()
    assert (wire.values, cache.values) == (wired, cached)
    del held
    assert (wire.values[-1], cache.values[-1]) == (100, 100)


def test_products_are_rounded_as_the_newest_model_wants_them(
    settings: ProcessSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[bool] = []
    native = SimpleNamespace(set_bf16_products=rounds.append)
    monkeypatch.setattr(process_settings, "extension", lambda: Extension(module=native))
    exact = settings.hold()
    rounded = settings.hold(rounded=True)
    assert rounds == [True]
    newest = settings.hold()
    assert rounds == [True, False]
    del newest
    assert rounds == [True, False, True]
    del rounded, exact
    assert rounds == [True, False, True, False]
