"""``g4 doctor``: looks, tries, and says what to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cli_runs import g4, records

from gemma4cli import api
from gemma4cli.cli.commands.doctor import lines_of
from gemma4cli.doctor import facts, samples, trial
from gemma4cli.doctor.findings import Finding
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import BackendMissingError, MicrophoneError, NonFiniteError
from gemma4cli.machine import backend
from gemma4cli.machine.device import Device, Memory
from gemma4cli.media.audio import load_audio
from gemma4cli.media.images import load_image
from gemma4cli.media.microphone import Microphone
from gemma4cli.media.video import probe_video
from gemma4cli.messages import Source


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial, which takes its time, is left out."""
    monkeypatch.setattr(trial, "trial", lambda: iter(()))


def finding(name: str) -> Finding:
    (found,) = [each for each in facts.facts() if each.name == name]
    return found


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


@pytest.mark.usefixtures("untried")
def test_report_fits_80_columns() -> None:
    result = g4("doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "This machine" and lines[-1].startswith("g4 works here")


@pytest.mark.usefixtures("untried")
def test_looks_at_everything() -> None:
    names = [each["name"] for each in records(g4("doctor", "--json"))[0]["machine"]]
    expected = {"g4", "Python", "packages", "FFmpeg", "backend", "cores", "memory", "cache"}
    assert expected | {"models", "microphone", "HEIC"} <= set(names)


def test_a_failed_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> str:
        raise NonFiniteError("prefill")

    monkeypatch.setattr(api, "generate", fail)
    result = g4("doctor")
    assert result.exit_code == 1
    assert "x text" in result.stdout and "NaN or infinity" in result.stdout
    assert "g4 is not usable here" in result.stdout


def test_no_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "generate", lambda *args, **options: " ")
    states = {each.name: each.state for each in trial.trial()}
    assert states["load"] == "ok" and states["sound"] == "problem"


def test_a_slow_answer_is_noted(monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel) -> None:
    clock: Iterator[float] = iter(range(0, 1000, 11))
    monkeypatch.setattr(trial, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(api, "generate", lambda *args, **options: "Yes.")
    states = {each.name: each.state for each in trial.trial()}
    assert states["text"] == states["video"] == "note"


def test_what_cannot_be_loaded_ends_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> LoadedModel:
        raise BackendMissingError("libmlx.so")

    monkeypatch.setattr(api, "load", fail)
    (only,) = trial.trial()
    assert (only.name, only.state) == ("load", "problem")


def test_no_backend_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise BackendMissingError("libmlx.so")

    monkeypatch.setattr(backend, "require_backend", fail)
    found = facts._backend()
    assert found.state == "problem" and "gemma4cli[cpu]" in str(found.advice)


@pytest.mark.parametrize(("library", "state"), [("libopenblas.so.0", "ok"), (None, "note")])
def test_blas(monkeypatch: pytest.MonkeyPatch, library: str | None, state: str) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(facts, "device", lambda: Device(backend="CPU", name="x"))
    monkeypatch.setattr(facts, "fast_blas", lambda: library)
    (found,) = facts._blas()
    assert found.state == state
    assert (found.advice is None) == (library is not None)


def test_a_gpu_needs_no_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "device", lambda: Device(backend="Metal", name="Apple M4"))
    assert list(facts._blas()) == []
    assert facts._backend() == Finding(name="backend", value="Metal, Apple M4")


@pytest.mark.parametrize(("limit", "state"), [(4, "note"), (12, "ok")])
def test_memory(monkeypatch: pytest.MonkeyPatch, limit: int, state: str) -> None:
    memory = Memory(total=16 * 10**9, free=9 * 10**9, limit=limit * 10**9)
    monkeypatch.setattr(facts, "model_memory", lambda: memory)
    found = finding("memory")
    assert found.state == state
    assert found.value.startswith(f"16.0 GB, 9.0 GB free; models may use {limit}.0 GB")


def test_models_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "recommended_model", lambda: "e4b")
    assert finding("models").advice == "g4 models pull e4b"


@pytest.mark.parametrize(
    ("devices", "value", "state"),
    [
        ([], "none", "note"),
        (["Built-in", "USB"], "Built-in (default), USB", "ok"),
    ],
)
def test_microphones(
    monkeypatch: pytest.MonkeyPatch, devices: list[str], value: str, state: str
) -> None:
    listed = tuple(
        Microphone(index=i, name=name, channels=1, sample_rate=48_000.0, is_default=not i)
        for i, name in enumerate(devices)
    )
    monkeypatch.setattr("gemma4cli.media.microphone.list_devices", lambda: listed)
    found = finding("microphone")
    assert (found.value, found.state) == (value, state)


def test_no_portaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[Microphone, ...]:
        raise MicrophoneError("install libportaudio2")

    monkeypatch.setattr("gemma4cli.media.microphone.list_devices", fail)
    assert finding("microphone").advice == "install libportaudio2"


def test_heif_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "find_spec", lambda name: None)
    found = finding("HEIC")
    assert found.state == "note" and "gemma4cli[heif]" in str(found.advice)


def test_long_values_are_wrapped_below_themselves() -> None:
    lines = lines_of(Finding(name="packages", value="word " * 30, state="note", advice="do " * 40))
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("! packages    word")
    assert lines[1].startswith(" " * 14 + "word")
    assert any(line.strip().startswith("-> do") for line in lines)


def test_samples_are_media() -> None:
    assert load_image(Source.of(samples.picture())).pixels.shape == (192, 192, 3)
    assert load_audio(Source.of(samples.sound())).seconds == pytest.approx(1.84, abs=0.01)
    assert probe_video(Source.of(samples.clip())).duration == pytest.approx(2.0, abs=0.3)
