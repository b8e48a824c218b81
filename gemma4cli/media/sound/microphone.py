"""Recording from a microphone with sounddevice.

Only this module imports sounddevice, on first use, because the import fails without the PortAudio
library. PortAudio's callback thread only copies samples into an unbounded queue, so slow readers
lose nothing.
"""

from __future__ import annotations

import atexit
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any, Protocol, Self

import numpy as np

from ...decoded import SAMPLE_RATE, Samples
from ...errors import MicrophoneError
from .resampling import resampled

log = logging.getLogger(__name__)

LATENCY_SECONDS = 0.3
"""Sound that the driver buffers: it overflows only if Python is blocked for longer."""

STALLED_SECONDS = 5.0
"""A device that delivers nothing for this long is gone. Bluetooth headsets need 2 s to wake up."""

SILENT_SECONDS = 3.0
"""Only zeros for this long mean no microphone: macOS sends them to apps without permission."""

_TICK_SECONDS = 0.25
_ENDING_SECONDS = 1.0
"""Wait for the last sound of a device that was stopped."""

_CLOSING_SECONDS = 5.0

_NO_PORTAUDIO = (
    "the PortAudio library is missing; install it (Debian, Ubuntu: apt install libportaudio2)"
)
_ALLOW = "on macOS, allow the terminal in System Settings > Privacy & Security > Microphone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Microphone:
    """One input device, with PortAudio's index."""

    index: int
    name: str
    channels: int
    sample_rate: float
    is_default: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Peak of a block in dBFS: 0 is full scale, -inf is digital silence."""

    peak: float

    @classmethod
    def of(cls, samples: Samples) -> Self:
        """The level of samples ``[n]``."""
        if not len(samples):
            return cls(peak=-math.inf)
        return cls(peak=_decibels(float(np.abs(samples).max())))


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude else -math.inf


class AudioSource(Protocol):
    """Sound that is being captured, from a microphone for example."""

    def blocks(self) -> Iterator[Samples]:
        """All captured sound: mono float32 ``[n]`` at 16 kHz, to be iterated once.

        Ends after the last sample captured before ``stop``. Raises MediaError if capturing fails,
        after yielding what was captured until then.
        """

    @property
    def level(self) -> Level:
        """The level of the latest captured block, read or not."""

    def stop(self) -> None:
        """Stop capturing. Returns at once; any thread may call it, any number of times."""


def import_sounddevice() -> ModuleType:
    """The module ``sounddevice``.

    Raises MicrophoneError if it or the PortAudio library that it loads is not installed.
    """
    try:
        return import_module("sounddevice")
    except ModuleNotFoundError as exc:
        raise MicrophoneError("the sounddevice package is missing; install it") from exc
    except OSError as exc:
        raise MicrophoneError(_NO_PORTAUDIO) from exc


def list_devices() -> tuple[Microphone, ...]:
    """All devices that can record, in PortAudio's order."""
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


def find_device(wanted: str | None = None) -> Microphone:
    """The device with this number, name or part of a name; without one, the system's default.

    Case is ignored, and a full name is preferred to a part. Raises MicrophoneError with a list of
    the devices unless exactly one matches.
    """
    devices = list_devices()
    if not devices:
        raise MicrophoneError(
            f"no device can record: connect one, or start the sound server; {_ALLOW}"
        )
    if wanted is None:
        found, problem = [d for d in devices if d.is_default], "the system has no default device"
    else:
        found, problem = _matches(devices, wanted), f"no device matches {wanted!r}"
    if len(found) == 1:
        return found[0]
    if found:
        devices, problem = tuple(found), f"several devices match {wanted!r}"
    listed = "; ".join(f"{device.index} {device.name}" for device in devices)
    raise MicrophoneError(f"{problem}: give the number or the name of one of: {listed}")


def _matches(devices: Sequence[Microphone], wanted: str) -> list[Microphone]:
    """The devices that match ``wanted`` by number, else by full name, else by part of the name."""
    name = wanted.strip().casefold()
    numbered = [device for device in devices if str(device.index) == name]
    called = [device for device in devices if device.name.casefold() == name]
    return numbered or called or [device for device in devices if name in device.name.casefold()]


@contextmanager
def record(wanted: str | None = None) -> Iterator[Recorder]:
    """Record from the device that ``find_device`` returns until the context ends.

    Captured sound can still be read after that. Raises MicrophoneError if the device is not found
    or cannot be opened.
    """
    sounddevice = import_sounddevice()
    recorder, stream = _started(sounddevice, find_device(wanted))
    try:
        yield recorder
    finally:
        recorder.stop()
        _close(sounddevice, stream)


def _close(sounddevice: ModuleType, stream: Any) -> None:
    """Close a stream, without waiting longer for drivers that hang when their device is gone."""
    closing = Thread(target=stream.close, name="microphone closes", daemon=True)
    closing.start()
    closing.join(_CLOSING_SECONDS)
    if closing.is_alive():
        log.warning("the microphone's driver does not close it")
        # sounddevice's exit handler would wait for the stream forever.
        atexit.unregister(sounddevice._exit_handler)


def _started(sounddevice: ModuleType, device: Microphone) -> tuple[Recorder, Any]:
    """A recorder and the started stream that feeds it."""
    failure: Exception | None = None
    # Devices without 16 kHz record at their default rate and are resampled.
    for rate in dict.fromkeys((SAMPLE_RATE, round(device.sample_rate))):
        recorder = Recorder(device.name, rate)
        try:
            return recorder, _stream(sounddevice, device, recorder)
        except sounddevice.PortAudioError as exc:
            failure = exc
    raise MicrophoneError(
        f"{device.name} cannot be opened ({' '.join(str(failure).split())}): close other programs "
        f"that record, or name another device; {_ALLOW}"
    ) from failure


def _stream(sounddevice: ModuleType, device: Microphone, recorder: Recorder) -> Any:
    def hear(data: Any, frames: int, time: object, status: Any) -> None:
        samples: Samples = np.frombuffer(data, np.float32)
        if not recorder.take(samples, overflow=bool(status.input_overflow)):
            raise sounddevice.CallbackStop

    # The raw stream: sounddevice's own arrays are made in a way that NumPy 2.5 deprecates.
    stream = sounddevice.RawInputStream(
        device=device.index,
        channels=1,
        samplerate=recorder.rate,
        dtype="float32",
        latency=LATENCY_SECONDS,
        callback=hear,
        finished_callback=recorder.end,
    )
    try:
        stream.start()
    except sounddevice.PortAudioError:
        stream.close()
        raise
    return stream


class Recorder:
    """An ``AudioSource`` that passes samples from the driver's thread to the reader.

    ``overflows`` counts how often the driver lost sound before delivering it.
    """

    def __init__(self, name: str, rate: int) -> None:
        self.rate = rate
        self.overflows = 0
        self._name = name
        self._captured: SimpleQueue[Samples | None] = SimpleQueue()
        self._latest: Samples = np.zeros(0, np.float32)
        self._stopping = False
        # Sound captured before the stop may still be in the driver's buffer.
        self._due = round(LATENCY_SECONDS * rate)
        self._seconds = 0.0
        self._heard = False

    def take(self, samples: Samples, *, overflow: bool) -> bool:
        """Keep a copy of captured samples ``[n]``; False if no more are needed."""
        self._latest = samples.copy()
        self._captured.put(self._latest)
        self.overflows += overflow
        if self._stopping:
            self._due -= len(samples)
        return self._due > 0

    def end(self) -> None:
        """The driver delivers no more samples, stopped or not."""
        self._captured.put(None)

    def stop(self) -> None:
        """Stop capturing; ``blocks`` ends after what was captured until now."""
        self._stopping = True

    @property
    def level(self) -> Level:
        """The level of the latest captured block, read or not."""
        return Level.of(self._latest)

    def blocks(self) -> Iterator[Samples]:
        """All captured sound: mono float32 ``[n]`` at 16 kHz, to be iterated once.

        Raises MicrophoneError at the end if the device failed or delivered only zeros.
        """
        for block in resampled((self.rate, block) for block in self._read()):
            if len(block):
                yield block
        if self.overflows:
            log.warning(
                "%s: sound was lost %d times; the computer is too busy", self._name, self.overflows
            )
        if not self._stopping:
            raise MicrophoneError(
                f"{self._name} stopped sending sound after {self._seconds:.1f} s: "
                "reconnect it, or name another device"
            )
        if not self._heard and self._seconds >= SILENT_SECONDS:
            raise MicrophoneError(self._silence())

    def _read(self) -> Iterator[Samples]:
        """Blocks as delivered, until the device ends or delivers none for too long."""
        waited = 0.0
        while waited < (_ENDING_SECONDS if self._stopping else STALLED_SECONDS):
            try:
                block = self._captured.get(timeout=_TICK_SECONDS)
            except Empty:
                waited += _TICK_SECONDS
                continue
            if block is None:
                return
            waited = 0.0
            self._count(block)
            yield block

    def _count(self, block: Samples) -> None:
        before, self._seconds = self._seconds, self._seconds + len(block) / self.rate
        self._heard = self._heard or bool(block.any())
        if not self._heard and before < SILENT_SECONDS <= self._seconds:
            log.warning("%s", self._silence())

    def _silence(self) -> str:
        return f"{self._name} sends only silence: switch it on; {_ALLOW}"
