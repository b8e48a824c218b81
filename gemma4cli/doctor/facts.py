"""Facts about this machine that determine what g4 can run on it, and how fast."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .._version import __version__
from ..errors import BackendMissingError, MicrophoneError
from ..extras import install_command, reinstall_command
from ..hub.download import cache_folder, nearest_folder
from ..hub.inventory import available, largest_fitting, recommended_model
from ..machine.device import device, fast_blas, model_memory
from .findings import Finding, checked
from .native_part import native_part

_PACKAGES = ("mlx", "mlx-lm", "tokenizers", "huggingface-hub", "numpy", "pillow", "av", "soxr")
_LITTLE_DISK = 5_000_000_000
_LITTLE_MEMORY = 6_000_000_000
"""Bytes below which not even the smallest published model fits."""


def facts() -> Iterator[Finding]:
    """Everything that can be found without running a model, in the order of the report."""
    yield Finding(name="g4", value=__version__)
    for name, check in _CHECKS.items():
        yield from checked(name, check)


def _python() -> Finding:
    return Finding(
        name="Python",
        value=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    )


def _packages() -> Finding:
    installed, missing = [], []
    for name in _PACKAGES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            name="packages",
            value=f"missing: {', '.join(missing)}",
            state="problem",
            advice=f"install them: {reinstall_command(' '.join(missing))}",
        )
    return Finding(name="packages", value=", ".join(installed))


def _ffmpeg() -> Finding:
    try:
        import av
    except ImportError as exc:
        return Finding(
            name="FFmpeg",
            value=f"cannot be loaded ({exc})",
            state="problem",
            advice=f"audio and video need PyAV: {reinstall_command('av')}",
        )
    numbers = av.library_versions
    libraries = ("libavcodec", "libavformat")
    shown = [f"{name} {'.'.join(map(str, numbers[name]))}" for name in libraries if name in numbers]
    return Finding(name="FFmpeg", value=", ".join(shown))


def _backend() -> Finding:
    from ..machine.backend import native_in_use, require_backend

    try:
        require_backend()
    except BackendMissingError as exc:
        return Finding(name="backend", value=str(exc), state="problem", advice=_install())
    found = device()
    assert found is not None, "mlx was imported"
    if found.backend == "CPU":
        return Finding(
            name="backend",
            value=f"CPU, {found.name}",
            state="ok" if native_in_use() else "note",
            advice="a model of E2B's size at 4 bits writes 11 tokens/s on two cores of a server "
            "with AMX; larger models and older CPUs are slower, Apple silicon and NVIDIA GPUs are "
            f"faster: {install_command('cuda')}"
            if native_in_use()
            else "models of Gemma's size are slow on a CPU without g4's native part; MLX is made "
            f"for Apple silicon and also runs on NVIDIA GPUs: {install_command('cuda')}",
        )
    return Finding(name="backend", value=f"{found.backend}, {found.name}")


def _install() -> str:
    return f"{install_command('cpu')} for a CPU, {install_command('cuda')} for an NVIDIA GPU"


def _computing() -> Iterator[Finding]:
    """What computes on a Linux CPU: g4's native part, or MLX with a BLAS library of the system."""
    found = device()
    if sys.platform != "linux" or found is None or found.backend != "CPU":
        return
    part = native_part()
    yield part
    if part.state != "ok":
        yield _blas()


def _blas() -> Finding:
    name = fast_blas()
    if name is not None:
        return Finding(name="BLAS", value=name)
    return Finding(
        name="BLAS",
        value="MLX's own, dozens of times slower on prompts and images",
        state="note",
        advice="install OpenBLAS (Debian, Ubuntu: apt install libopenblas0); g4 finds it",
    )


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return Finding(name="cores", value=str(usable))


def _memory() -> Finding:
    memory = model_memory()
    value = (
        f"{memory.total / 1e9:.1f} GB, {memory.free / 1e9:.1f} GB free; models may use "
        f"{memory.limit / 1e9:.1f} GB"
    )
    if memory.limit < _LITTLE_MEMORY:
        advice = "too little for a published model; the built-in one fits"
        return Finding(name="memory", value=value, state="note", advice=advice)
    return Finding(name="memory", value=value)


def _cache() -> Finding:
    folder = cache_folder()
    nearest = nearest_folder(folder)
    free = shutil.disk_usage(nearest).free
    value = f"{folder}, {free / 1e9:.1f} GB free"
    if not os.access(nearest, os.W_OK):
        advice = "not writable: set HF_HUB_CACHE to a folder that you can write to"
        return Finding(name="cache", value=value, state="note", advice=advice)
    if free < _LITTLE_DISK:
        advice = "too little for a model: free disk space, or set HF_HUB_CACHE to another disk"
        return Finding(name="cache", value=value, state="note", advice=advice)
    return Finding(name="cache", value=value)


def _models() -> Finding:
    cached = [entry for entry in available() if entry.repo is not None and entry.model]
    if not cached:
        alias = recommended_model()
        advice = f"g4 models pull {alias}" if alias else "only the built-in toy fits the memory"
        return Finding(name="models", value="none cached", state="note", advice=advice)
    default = largest_fitting(cached)
    names = ", ".join(entry.name for entry in cached)
    if default is None:
        advice = "none fits the memory; g4 models list --all shows smaller ones"
        return Finding(name="models", value=names, state="note", advice=advice)
    return Finding(name="models", value=f"{names}; the default is {default.name}")


def _microphones() -> Finding:
    from ..media.sound.microphone import list_devices

    try:
        with _making_no_runtime_folder():
            devices = list_devices()
    except MicrophoneError as exc:
        return Finding(name="microphone", value="none", state="note", advice=exc.problem)
    if not devices:
        advice = "for g4 transcribe --mic, connect one or start the sound server"
        return Finding(name="microphone", value="none", state="note", advice=advice)
    names = (f"{device.name}{' (default)' * device.is_default}" for device in devices)
    return Finding(name="microphone", value=", ".join(names))


@contextmanager
def _making_no_runtime_folder() -> Iterator[None]:
    """Within this, libpulse looks for servers without making a folder in ``$TMPDIR`` for one.

    It does so for a user without a runtime folder, who has no server of his own yet then; what is
    below a device cannot be made.
    """
    chosen = any(map(os.environ.get, ("PULSE_RUNTIME_PATH", "XDG_RUNTIME_DIR")))
    home = os.path.expanduser("~")
    folders = (Path(home, ".config", "pulse"), Path(home, ".pulse"))
    if chosen or any(each.is_symlink() for folder in folders for each in folder.glob("*-runtime")):
        yield
        return
    os.environ["PULSE_RUNTIME_PATH"] = f"{os.devnull}/pulse"
    try:
        yield
    finally:
        del os.environ["PULSE_RUNTIME_PATH"]


def _heif() -> Finding:
    if find_spec("pillow_heif") is None:
        advice = f"for HEIC photos: {install_command('heif')}"
        return Finding(name="HEIC", value="not installed", state="note", advice=advice)
    return Finding(name="HEIC", value=f"pillow-heif {version('pillow-heif')}")


def _one(look: Callable[[], Finding]) -> Callable[[], Iterator[Finding]]:
    def check() -> Iterator[Finding]:
        yield look()

    return check


_CHECKS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    "Python": _one(_python),
    "packages": _one(_packages),
    "FFmpeg": _one(_ffmpeg),
    "backend": _one(_backend),
    "native part": _computing,
    "cores": _one(_cores),
    "memory": _one(_memory),
    "cache": _one(_cache),
    "models": _one(_models),
    "microphone": _one(_microphones),
    "HEIC": _one(_heif),
}
"""What finds each fact, in the order of the report."""
