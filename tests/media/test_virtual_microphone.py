"""A microphone of a private sound server: everything that is played to it is captured.

Slow, because sound plays in real time; ``test_media_microphone`` uses a simulated driver.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import sound_server
from support.sound_server import DEVICE

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import MicrophoneError
from gemma4cli.media.sound.audio import Samples
from gemma4cli.media.sound.microphone import import_sounddevice, record

WINDOW = SAMPLE_RATE // 4

LACK = sound_server.lack()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(LACK), reason=LACK)]


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """A sound server whose only device records what is played to it."""
    home = tmp_path_factory.mktemp("pulse")
    for name, value in sound_server.variables(home).items():
        monkeypatch.setenv(name, value)
    with sound_server.running(home) as process:
        _rescan_devices()
        yield process
    _rescan_devices()


def _rescan_devices() -> None:
    """PortAudio lists devices only when it is initialized."""
    sounddevice: Any = import_sounddevice()
    sounddevice._terminate()
    sounddevice._initialize()


@pytest.fixture
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device rejects the rate in the parameter, as many sound cards do."""
    sounddevice: Any = import_sounddevice()
    opened = sounddevice.RawInputStream

    def open_stream(**settings: Any) -> Any:
        if settings["samplerate"] == request.param:
            raise sounddevice.PortAudioError("Invalid sample rate")
        return opened(**settings)

    monkeypatch.setattr(sounddevice, "RawInputStream", open_stream)


def noise(seconds: float) -> Samples:
    """Noise below 2 kHz, in which every part can be located."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE)))
    spectrum[int(2000 * seconds) :] = 0
    sound = np.fft.irfft(spectrum)
    scaled: Samples = (sound * 0.5 / np.abs(sound).max()).astype(np.float32)
    return scaled


def locate(part: Samples, heard: Samples) -> tuple[int, float]:
    """The position of a part in ``heard``, and their correlation there, up to 1."""
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
def test_no_sound_is_lost_while_nothing_is_read(tmp_path: Path) -> None:
    said = noise(3.0)
    with record(DEVICE) as source:
        blocks = source.blocks()
        heard = [next(blocks)]
        sound_server.write(np.pad(said, SAMPLE_RATE), tmp_path / "said.wav")
        sound_server.play(tmp_path / "said.wav", Path(os.environ["HOME"]))
        source.stop()
        heard += blocks
    assert source.overflows == 0
    found = [
        (start, *locate(said[start : start + WINDOW], np.concatenate(heard)))
        for start in range(0, len(said), WINDOW)
    ]
    assert min(fit for _, _, fit in found) > 0.95
    # A lost sample would move all that follow it.
    offsets = [at - start for start, at, _ in found]
    assert max(offsets) - min(offsets) <= 1


def test_a_server_that_dies_is_an_error(server: subprocess.Popen[bytes]) -> None:
    with record(DEVICE) as source:
        blocks = source.blocks()
        next(blocks)
        server.kill()
        with pytest.raises(MicrophoneError, match=f"{DEVICE} stopped sending sound"):
            list(blocks)
