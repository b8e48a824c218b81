"""No test sees the network, the user's settings or another test's files.

The models that most tests run are loaded once.
"""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# There are as many test processes as processors: more threads of NumPy's would wait for each other.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy  # noqa: F401

# The programs that tests start are as their users start them.
del os.environ["OPENBLAS_NUM_THREADS"]

from gemma4cli.api import load
from gemma4cli.engine.model import LoadedModel
from gemma4cli.machine import backend
from gemma4cli.machine.process_settings import SETTINGS, Hold
from gemma4cli.native.extension import Extension
from gemma4cli.options import LoadOptions

# A failure must come again, and a busy machine is not one.
hypothesis.settings.register_profile(
    "g4", derandomize=True, deadline=None, database=None, max_examples=50
)
hypothesis.settings.load_profile("g4")

HOLD = pytest.StashKey[Hold]()
PARITY = Path(__file__).parents[1] / "fixtures" / "parity"


def pytest_configure(config: pytest.Config) -> None:
    """huggingface_hub reads its variables when it is imported, so they are set before any test.

    Tests of single layers load no model, which would prepare MLX for them. A shell starts
    background jobs with Ctrl-C ignored; the tests, and the programs they start, need it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tempfile.TemporaryDirectory(prefix="g4-tests-")
    config.add_cleanup(home.cleanup)
    os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=home.name, HF_HUB_CACHE=f"{home.name}/hub")
    config.stash[HOLD] = SETTINGS.hold()


def pytest_collection_finish() -> None:
    """The garbage collector need not look at thousands of tests again and again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _isolation(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fresh XDG folders, no variables of g4's, a terminal of 80 columns without color.

    Only the one without the native part is kept: all tests can run with it.
    """
    for name in [name for name in os.environ if name.startswith(("G4_", "_G4_"))]:
        if name != "G4_NO_NATIVE":
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("xdg")
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """The model that ships inside the package."""
    return load("tiny")


@pytest.fixture(scope="session")
def parity_model() -> Callable[[str], LoadedModel]:
    """Loads a parity checkpoint by its name ("e2b"), once, in float32."""

    @cache
    def load_arch(arch: str) -> LoadedModel:
        return load(str(PARITY / "checkpoints" / arch), options=LoadOptions(dtype="float32"))

    return load_arch


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models load as where the native part is not built."""
    monkeypatch.setattr(backend, "extension", lambda: Extension(reason="not built"))
