"""The microphone: a missing PortAudio is explained, devices are listed."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import NoReturn

import pytest

from gemma4cli.errors import MicrophoneError
from gemma4cli.media import microphone


class PortAudioError(Exception):
    """Stands for sounddevice's own."""


def fake(devices: object) -> SimpleNamespace:
    def query_devices() -> object:
        if isinstance(devices, Exception):
            raise devices
        return devices

    return SimpleNamespace(
        query_devices=query_devices,
        default=SimpleNamespace(device=(1, 0)),
        PortAudioError=PortAudioError,
    )


def test_missing_portaudio_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> NoReturn:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(microphone, "import_module", fail)
    with pytest.raises(MicrophoneError, match=r"microphone: .*apt install libportaudio2"):
        microphone.import_sounddevice()


def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> NoReturn:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(microphone, "import_module", fail)
    with pytest.raises(MicrophoneError, match="sounddevice package"):
        microphone.import_sounddevice()


def test_only_inputs_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0}
    headset = {"name": "Headset", "max_input_channels": 1, "default_samplerate": 16000.0}
    monkeypatch.setitem(sys.modules, "sounddevice", fake([speaker, headset]))
    assert microphone.list_devices() == (
        microphone.Microphone(
            index=1, name="Headset", channels=1, sample_rate=16000.0, is_default=True
        ),
    )


def test_a_failing_host_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake(PortAudioError("no host")))
    with pytest.raises(MicrophoneError, match="no host"):
        microphone.list_devices()


def test_importing_the_module_loads_no_sounddevice() -> None:
    code = "import sys, gemma4cli.media.microphone; sys.exit('sounddevice' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
