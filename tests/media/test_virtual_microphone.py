"""A device of a sound server that runs for the test alone: what it plays is heard whole."""

from __future__ import annotations

import shutil
import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import MicrophoneError
from gemma4cli.media.audio import Samples
from gemma4cli.media.microphone import import_sounddevice, record

DEVICE = "pulse"
"""ALSA's name for the server, by which PortAudio reaches it."""
PATIENCE = 20.0
WINDOW = SAMPLE_RATE // 4


def _lack() -> str:
    """What this machine would need, or nothing."""
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            return f"the {program} program is missing"
    try:
        import_sounddevice()
    except MicrophoneError as error:
        return str(error)
    return ""


LACK = _lack()
pytestmark = pytest.mark.skipif(bool(LACK), reason=LACK)


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """A sound server whose only device records what is played to it."""
    home = tmp_path_factory.mktemp("pulse")
    home.chmod(0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{home}/socket")
    with subprocess.Popen(
        [
            *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"),
            *("-L", f"module-native-protocol-unix auth-anonymous=1 socket={home}/socket"),
            *("-L", "module-null-sink sink_name=g4 rate=48000"),
        ]
    ) as process:
        try:
            _wait_for_server()
            _look_again()
            yield process
        finally:
            process.kill()
    _look_again()


def _wait_for_server() -> None:
    for _ in range(100):
        asked = subprocess.run(["pactl", "info"], capture_output=True, check=False)
        if asked.returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail("the sound server does not start")


def _look_again() -> None:
    """PortAudio looks for devices once, when it is loaded."""
    sounddevice: Any = import_sounddevice()
    sounddevice._terminate()
    sounddevice._initialize()


@pytest.fixture
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device refuses the rate that the test names, as many a sound card does."""
    sounddevice: Any = import_sounddevice()
    opened = sounddevice.InputStream

    def open_stream(**settings: Any) -> Any:
        if settings["samplerate"] == request.param:
            raise sounddevice.PortAudioError("Invalid sample rate")
        return opened(**settings)

    monkeypatch.setattr(sounddevice, "InputStream", open_stream)


def play(samples: Samples, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    subprocess.run(["paplay", "--device=g4", str(path)], check=True, timeout=PATIENCE)


def noise(seconds: float) -> Samples:
    """Sound below 2 kHz of which no stretch is like another."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE)))
    spectrum[int(2000 * seconds) :] = 0
    sound = np.fft.irfft(spectrum)
    scaled: Samples = (sound * 0.5 / np.abs(sound).max()).astype(np.float32)
    return scaled


def place(part: Samples, heard: Samples) -> tuple[int, float]:
    """Where in ``heard`` a part is, and how well it fits there, from 0 to 1."""
    size = len(heard) + len(part)
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(part, size))
    at = int(np.argmax(np.fft.irfft(product, size)[: len(heard)]))
    found = heard[at : at + len(part)]
    return at, float(found @ part[: len(found)] / np.linalg.norm(found) / np.linalg.norm(part))


@pytest.mark.usefixtures("server", "refused")
@pytest.mark.parametrize(
    "refused",
    [pytest.param(0, id="16-khz"), pytest.param(SAMPLE_RATE, id="own-rate")],
    indirect=True,
)
def test_sound_arrives_whole_while_nobody_reads(tmp_path: Path) -> None:
    said = noise(3.0)
    with record(DEVICE) as source:
        blocks = source.blocks()
        heard = [next(blocks)]
        play(np.pad(said, SAMPLE_RATE), tmp_path / "said.wav")
        source.stop()
        heard += blocks
    assert source.overflows == 0
    places = [
        (start, *place(said[start : start + WINDOW], np.concatenate(heard)))
        for start in range(0, len(said), WINDOW)
    ]
    assert min(fit for _, _, fit in places) > 0.95
    # A lost sample would move all that follow it.
    offsets = [at - start for start, at, _ in places]
    assert max(offsets) - min(offsets) <= 1


def test_a_server_that_dies_is_an_error(server: subprocess.Popen[bytes]) -> None:
    with record(DEVICE) as source:
        blocks = source.blocks()
        next(blocks)
        server.kill()
        with pytest.raises(MicrophoneError, match=f"{DEVICE} gives no more sound"):
            list(blocks)
