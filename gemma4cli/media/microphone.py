"""The door to the microphone: sounddevice, loaded only when it is asked for.

Nothing else imports sounddevice; without the PortAudio library that import fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from ..errors import MicrophoneError

_NO_PORTAUDIO = (
    "the PortAudio library is missing; install it (Debian, Ubuntu: apt install libportaudio2)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Microphone:
    """One input device, as PortAudio knows it."""

    index: int
    name: str
    channels: int
    sample_rate: float
    is_default: bool


def import_sounddevice() -> ModuleType:
    """The module ``sounddevice``.

    Raises MicrophoneError where it or the PortAudio library that it loads is not installed.
    """
    try:
        return import_module("sounddevice")
    except ModuleNotFoundError as exc:
        raise MicrophoneError("the sounddevice package is missing; install it") from exc
    except OSError as exc:
        raise MicrophoneError(_NO_PORTAUDIO) from exc


def list_devices() -> tuple[Microphone, ...]:
    """All devices that can record, in PortAudio's order; empty where there is none."""
    sounddevice = import_sounddevice()
    try:
        devices = sounddevice.query_devices()
        default = sounddevice.default.device[0]
    except sounddevice.PortAudioError as exc:
        raise MicrophoneError(f"devices cannot be listed ({exc})") from exc
    return tuple(
        Microphone(
            index=index,
            name=str(device["name"]),
            channels=int(device["max_input_channels"]),
            sample_rate=float(device["default_samplerate"]),
            is_default=index == default,
        )
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    )
