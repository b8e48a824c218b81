"""``g4 doctor``: looks, tries, and advises."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from cli_runs import g4, records

from gemma4cli.cli.commands.doctor import lines_of
from gemma4cli.doctor import facts, native_part, samples, trial
from gemma4cli.doctor.findings import Finding
from gemma4cli.errors import BackendMissingError, MicrophoneError, NonFiniteError
from gemma4cli.extras import install_command, rebuild_command
from gemma4cli.machine import backend
from gemma4cli.machine.device import Device, Memory
from gemma4cli.media.pictures.images import load_image
from gemma4cli.media.pictures.video import probe_video
from gemma4cli.media.sound import microphone
from gemma4cli.media.sound.audio import load_audio
from gemma4cli.media.sound.microphone import Microphone
from gemma4cli.messages import Source
from gemma4cli.native.extension import Extension


@dataclass
class Machine:
    """What the facts are about; a test changes what it is interested in.

    An exception is raised where it would be looked at.
    """

    device: Device = field(default_factory=lambda: Device(backend="CPU", name="x"))
    model_memory: Memory = field(
        default_factory=lambda: Memory(total=16 * 10**9, free=9 * 10**9, limit=12 * 10**9)
    )
    fast_blas: str | None = "libopenblas.so.0"
    recommended_model: str | None = "e4b"
    list_devices: tuple[Microphone, ...] | Exception = ()
    require_backend: Exception | None = None
    find_spec: object = "there"
    extension: Extension = field(
        default_factory=lambda: Extension(reason="not built", missing="it is not built")
    )
    programs: tuple[str, ...] = ("g++", "apt")
    headers: bool = True

    def look(self, name: str) -> object:
        found = getattr(self, name)
        if isinstance(found, Exception):
            raise found
        return found

    def which(self, name: str) -> str | None:
        return name if name in self.programs else None

    def finding(self, name: str) -> Finding | None:
        """The finding of this name, if there is one."""
        found = [each for each in facts.facts() if each.name == name]
        return found[0] if found else None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    (tmp_path / "Python.h").touch()
    for module, names in (
        (facts, ("device", "model_memory", "fast_blas", "recommended_model", "find_spec")),
        (microphone, ("list_devices",)),
        (backend, ("require_backend",)),
        (native_part, ("extension",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, name=name: made.look(name))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(native_part, "which", made.which)
    monkeypatch.setattr(
        sysconfig, "get_path", lambda name: str(tmp_path if made.headers else tmp_path / "none")
    )
    return made


@dataclass
class Model:
    """The built-in model of the trial, which answers with ``answer`` after ``seconds``."""

    answer: str | Exception = "Yes."
    seconds: float = 1.0
    loads: Exception | None = None

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in trial.trial()}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    made = Model()
    clock = count()

    def load(name: str) -> object:
        if made.loads:
            raise made.loads
        return object()

    def generate(*_: object, **options: object) -> str:
        if isinstance(made.answer, Exception):
            raise made.answer
        return made.answer

    monkeypatch.setattr(trial, "api", SimpleNamespace(load=load, generate=generate))
    monkeypatch.setattr(trial, "perf_counter", lambda: next(clock) * made.seconds)
    return made


def test_this_machine_is_usable() -> None:
    (report,) = records(g4("doctor", "--json"))
    assert report["usable"]
    names = [each["name"] for each in report["trial"]]
    assert names == ["load", "text", "picture", "sound", "video"]
    assert all(each["state"] != "problem" and each["seconds"] >= 0 for each in report["trial"])
    assert all(each["value"] for each in report["trial"])


@pytest.mark.toy
def test_the_trial_is_answered_well() -> None:
    answers = {each.name: each.value for each in trial.trial()}
    assert "red circle" in answers["picture"]
    assert answers["sound"] == "i have 7 red books"
    assert "blue circle" in answers["video"]


@pytest.mark.usefixtures("model")
def test_the_report_fits_80_columns() -> None:
    result = g4("doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "This machine" and lines[-1].startswith("g4 works here")


@pytest.mark.usefixtures("model")
def test_the_report_covers_everything() -> None:
    names = [each["name"] for each in records(g4("doctor", "--json"))[0]["machine"]]
    expected = {"g4", "Python", "packages", "FFmpeg", "backend", "cores", "memory", "cache"}
    assert expected | {"models", "microphone", "HEIC"} <= set(names)


def test_an_answer_that_fails_is_a_problem(model: Model) -> None:
    model.answer = NonFiniteError("prefill")
    result = g4("doctor")
    assert result.exit_code == 1
    assert "x text" in result.stdout and "NaN or infinity" in result.stdout
    assert "g4 is not usable here" in result.stdout


def test_an_empty_answer_is_a_problem(model: Model) -> None:
    model.answer = " "
    states = model.states()
    assert states["load"] == "ok" and states["sound"] == "problem"


def test_a_slow_answer_is_noted(model: Model) -> None:
    model.seconds = 11
    states = model.states()
    assert states["text"] == states["video"] == "note"


def test_a_model_that_cannot_be_loaded_ends_the_trial(model: Model) -> None:
    model.loads = BackendMissingError("libmlx.so")
    assert model.states() == {"load": "problem"}


def test_a_missing_backend_is_a_problem(machine: Machine) -> None:
    machine.require_backend = BackendMissingError("libmlx.so")
    found = machine.finding("backend")
    assert found is not None and found.state == "problem"
    assert install_command("cpu") in str(found.advice)


@pytest.mark.parametrize(("library", "state"), [("libopenblas.so.0", "ok"), (None, "note")])
def test_a_cpu_without_a_fast_blas_is_noted(
    machine: Machine, library: str | None, state: str
) -> None:
    machine.fast_blas = library
    found = machine.finding("BLAS")
    assert found is not None and found.state == state
    assert (found.advice is None) == (library is not None)


def test_a_gpu_needs_no_blas(machine: Machine) -> None:
    machine.device = Device(backend="Metal", name="Apple M4")
    assert machine.finding("BLAS") is None
    assert machine.finding("backend") == Finding(name="backend", value="Metal, Apple M4")


def native_module(threads: int) -> ModuleType:
    module = ModuleType("native")
    vars(module).update(
        instruction_set=lambda: "avx2", has_amx=lambda: threads > 1, threads=lambda: threads
    )
    return module


@pytest.mark.parametrize(("threads", "value"), [(1, "avx2, 1 thread"), (8, "avx2, AMX, 8 threads")])
def test_the_native_part_makes_a_blas_unnecessary(
    machine: Machine, threads: int, value: str
) -> None:
    machine.extension = Extension(module=native_module(threads))
    machine.fast_blas = None
    assert machine.finding("native part") == Finding(name="native part", value=value)
    assert machine.finding("BLAS") is None


@pytest.mark.parametrize(
    ("programs", "headers", "expected"),
    [
        (("apt",), False, "apt install g++ python{0}.{1}-dev, then build g4 again: "),
        (("apt", "clang++"), False, "apt install python{0}.{1}-dev, then build g4 again: "),
        (("dnf",), True, "dnf install gcc-c++, then build g4 again: "),
        (("zypper", "g++"), False, "zypper install python{0}{1}-devel, then build g4 again: "),
        (("pacman",), False, "pacman -S gcc python, then build g4 again: "),
        ((), True, "install a C++ compiler and the headers of Python, then build g4 again: "),
        (("apt", "g++"), True, "build g4 again; -v shows what fails: "),
    ],
)
def test_what_the_build_of_the_native_part_lacks_is_named(
    machine: Machine, programs: tuple[str, ...], headers: bool, expected: str
) -> None:
    machine.programs, machine.headers = programs, headers
    found = machine.finding("native part")
    assert found is not None and found.state == "note" and "it is not built" in found.value
    advice = str(found.advice)
    assert advice.startswith(expected.format(*sys.version_info)) and rebuild_command() in advice


def test_a_native_part_for_another_mlx_needs_that_one_or_is_built_again(machine: Machine) -> None:
    machine.extension = Extension(reason="other MLX", missing="of old", built_for="0.32.9")
    found = machine.finding("native part")
    assert found is not None and found.state == "note"
    assert "'mlx[cpu]==0.32.9'" in str(found.advice) and rebuild_command() in str(found.advice)


def test_a_native_part_that_is_switched_off_is_noted(machine: Machine) -> None:
    machine.extension = Extension(reason="switched off", missing="G4_NO_NATIVE is set")
    found = machine.finding("native part")
    assert found is not None and found.advice == "unset the variable"


def test_a_gpu_needs_no_native_part(machine: Machine) -> None:
    machine.device = Device(backend="CUDA", name="H100")
    assert machine.finding("native part") is None


@pytest.mark.parametrize(("limit", "state"), [(4, "note"), (12, "ok")])
def test_little_memory_is_noted(machine: Machine, limit: int, state: str) -> None:
    machine.model_memory = Memory(total=16 * 10**9, free=9 * 10**9, limit=limit * 10**9)
    found = machine.finding("memory")
    assert found is not None and found.state == state
    assert found.value.startswith(f"16.0 GB, 9.0 GB free; models may use {limit}.0 GB")


def test_without_models_one_is_recommended(machine: Machine) -> None:
    found = machine.finding("models")
    assert found is not None and found.advice == "g4 models pull e4b"


@pytest.mark.parametrize(
    ("devices", "value", "state"),
    [
        ([], "none", "note"),
        (["Built-in", "USB"], "Built-in (default), USB", "ok"),
    ],
)
def test_microphones_are_listed(
    machine: Machine, devices: list[str], value: str, state: str
) -> None:
    machine.list_devices = tuple(
        Microphone(index=i, name=name, channels=1, sample_rate=48_000.0, is_default=not i)
        for i, name in enumerate(devices)
    )
    found = machine.finding("microphone")
    assert found is not None and (found.value, found.state) == (value, state)


def test_without_portaudio_its_package_is_named(machine: Machine) -> None:
    machine.list_devices = MicrophoneError("install libportaudio2")
    found = machine.finding("microphone")
    assert found is not None and found.advice == "install libportaudio2"


def test_a_look_for_microphones_makes_no_folder_of_libpulse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless a server of the user may be in it."""
    seen: list[str | None] = []

    def look() -> list[Microphone]:
        seen.append(os.environ.get("PULSE_RUNTIME_PATH"))
        return []

    monkeypatch.setattr(microphone, "list_devices", look)
    for name in ("PULSE_RUNTIME_PATH", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    facts._microphones()
    assert "PULSE_RUNTIME_PATH" not in os.environ
    (tmp_path / ".config" / "pulse").mkdir(parents=True)
    link = tmp_path / ".config" / "pulse" / "7-runtime"
    link.symlink_to("/tmp/pulse-7")
    facts._microphones()
    link.unlink()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    facts._microphones()
    assert seen == ["/dev/null/pulse", None, None]


def test_heif_is_optional(machine: Machine) -> None:
    machine.find_spec = None
    found = machine.finding("HEIC")
    assert found is not None and found.state == "note"
    assert install_command("heif") in str(found.advice)


def test_long_values_are_wrapped_below_themselves() -> None:
    lines = lines_of(Finding(name="packages", value="word " * 30, state="note", advice="do " * 40))
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("! packages    word")
    assert lines[1].startswith(" " * 14 + "word")
    assert any(line.strip().startswith("-> do") for line in lines)


def test_commands_are_not_broken_within_a_word() -> None:
    advice = "a command that is so long that it is broken at this point: pip --force-reinstall g4"
    lines = lines_of(Finding(name="mlx", value="old", state="note", advice=advice))
    assert any("--force-reinstall" in line for line in lines)


def test_samples_are_media() -> None:
    assert load_image(Source.of(samples.picture())).pixels.shape == (192, 192, 3)
    assert load_audio(Source.of(samples.sound())).seconds == pytest.approx(1.84, abs=0.01)
    assert probe_video(Source.of(samples.clip())).duration == pytest.approx(2.0, abs=0.3)
