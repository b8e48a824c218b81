"""The microphone: devices are found, no captured sound is lost, failures are explained.

No test opens a device: ``Driver`` replaces sounddevice, and tests feed it sound.
"""

from __future__ import annotations

import atexit
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from queue import Empty
from threading import Event
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import MicrophoneError
from gemma4cli.media.sound import microphone
from gemma4cli.media.sound.audio import Samples
from gemma4cli.media.sound.microphone import Level, Recorder, find_device, record


class PortAudioError(Exception):
    """Replaces sounddevice's exception."""


class CallbackStop(Exception):
    """Replaces sounddevice's exception."""


def device(name: str, *, inputs: int = 1, rate: float = 48_000.0) -> dict[str, object]:
    return {"name": name, "max_input_channels": inputs, "default_samplerate": rate}


SPEAKER = device("Speaker", inputs=0)
HEADSET = device("Headset", rate=16_000.0)


class Driver:
    """Replaces the module sounddevice; ``stream`` is the latest one."""

    PortAudioError = PortAudioError
    CallbackStop = CallbackStop

    @staticmethod
    def _exit_handler() -> None:
        """sounddevice's exit handler."""

    def __init__(
        self,
        devices: list[dict[str, object]] | Exception,
        *,
        default: int = 1,
        refuses: tuple[int, ...] = (),
        starts: bool = True,
    ) -> None:
        self.devices = devices
        self.default = SimpleNamespace(device=(default, 0))
        self.refuses = refuses
        self.starts = starts
        self.stream: Stream

    def query_devices(self) -> list[dict[str, object]]:
        if isinstance(self.devices, Exception):
            raise self.devices
        return self.devices

    def RawInputStream(self, **settings: Any) -> Stream:
        if settings["samplerate"] in self.refuses:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        self.stream = Stream(settings, self.starts)
        return self.stream


class Stream:
    """An input stream that the test feeds."""

    def __init__(self, settings: dict[str, Any], starts: bool) -> None:
        self.settings = settings
        self.closed = False
        self._starts = starts
        self._buffer = np.zeros(1 << 20, np.float32)

    def start(self) -> None:
        if not self._starts:
            raise PortAudioError("Device unavailable [PaErrorCode -9985]")

    def close(self) -> None:
        self.closed = True
        self.settings["finished_callback"]()

    def hear(self, samples: Samples, *, overflow: bool = False) -> None:
        """Deliver samples in a buffer that is reused, like PortAudio's."""
        buffer = self._buffer[: len(samples)]
        buffer[:] = samples
        status = SimpleNamespace(input_overflow=overflow)
        try:
            self.settings["callback"](memoryview(buffer).cast("B"), len(samples), None, status)
        except CallbackStop:
            self.settings["finished_callback"]()

    def fail(self) -> None:
        self.settings["finished_callback"]()


Install = Callable[[Driver], Driver]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Replaces sounddevice by a driver."""

    def put(driver: Driver) -> Driver:
        monkeypatch.setitem(sys.modules, "sounddevice", driver)
        return driver

    return put


@pytest.fixture
def driver(install: Install) -> Driver:
    return install(Driver([SPEAKER, HEADSET]))


def joined(blocks: Iterator[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def noise(count: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)


# The library and its devices


def test_a_missing_portaudio_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_only_inputs_are_listed(driver: Driver) -> None:
    assert microphone.list_devices() == (
        microphone.Microphone(
            index=1, name="Headset", channels=1, sample_rate=16000.0, is_default=True
        ),
    )


def test_a_failing_host_is_explained(install: Install) -> None:
    install(Driver(PortAudioError("no host")))
    with pytest.raises(MicrophoneError, match="no host"):
        microphone.list_devices()


def test_importing_the_module_loads_no_sounddevice() -> None:
    code = "import sys, gemma4cli.media.sound.microphone; sys.exit('sounddevice' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


INPUTS = [device("Webcam"), SPEAKER, device("USB Mic 2"), device("USB Mic"), device("Desk USB Mic")]


def test_a_device_is_found_by_number_name_or_part_of_a_name(install: Install) -> None:
    """A number is preferred to a name, and a full name to a part of one."""
    install(Driver(INPUTS, default=2))
    expected = {None: 2, "0": 0, "2": 2, "cam": 0, " WEBCAM ": 0, "usb mic": 3}
    assert {wanted: find_device(wanted).index for wanted in expected} == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param(
            "radio",
            "no device matches 'radio': give the number or the name of one of: "
            "0 Webcam; 2 USB Mic 2; 3 USB Mic; 4 Desk USB Mic",
            id="unknown",
        ),
        pytest.param("1", "no device matches '1'", id="number-of-a-speaker"),
        pytest.param(
            "USB", "several devices match 'USB': .*: 2 USB Mic 2; 3 USB Mic; 4", id="several"
        ),
        pytest.param(None, "the system has no default device: .*: 0 Webcam; 2", id="no-default"),
    ],
)
def test_an_error_lists_the_devices_to_choose_from(
    wanted: str | None, message: str, install: Install
) -> None:
    install(Driver(INPUTS, default=-1))
    with pytest.raises(MicrophoneError, match=message):
        find_device(wanted)


def test_a_machine_without_microphone_is_explained(install: Install) -> None:
    install(Driver([SPEAKER]))
    with pytest.raises(MicrophoneError, match="no device can record: connect one"):
        find_device()


# Opening


def test_device_is_opened_with_one_channel_at_16_khz(driver: Driver) -> None:
    with record("headset"):
        settings = driver.stream.settings
        assert settings["device"] == 1
        assert settings["channels"] == 1
        assert settings["samplerate"] == SAMPLE_RATE
        assert settings["dtype"] == "float32"


def test_device_without_16_khz_is_opened_at_its_own_rate(install: Install) -> None:
    driver = install(Driver([HEADSET, device("Webcam")], refuses=(SAMPLE_RATE,)))
    with record():
        assert driver.stream.settings["samplerate"] == 48_000


def test_sound_at_another_rate_is_resampled_without_joints(install: Install) -> None:
    driver = install(Driver([HEADSET, device("Webcam")], refuses=(SAMPLE_RATE,)))
    seconds = np.arange(48_000 * 2) / 48_000
    with record() as recorder:
        for block in np.array_split(np.sin(2 * np.pi * 440 * seconds) / 2, 97):
            driver.stream.hear(block.astype(np.float32))
    heard = joined(recorder.blocks())
    expected = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE * 2) / SAMPLE_RATE) / 2
    assert len(heard) == len(expected)
    # The filter rings where the tone begins and ends.
    assert np.abs(heard - expected)[400:-400].max() < 1e-3


def test_device_that_cannot_be_opened_is_explained(install: Install) -> None:
    install(Driver([HEADSET, device("Webcam")], refuses=(SAMPLE_RATE, 48_000)))
    message = r"Webcam cannot be opened \(.*rate.*\): close other .* name another .* Microphone$"
    with pytest.raises(MicrophoneError, match=message), record():
        pass


def test_device_that_does_not_start_is_closed(install: Install) -> None:
    driver = install(Driver([SPEAKER, HEADSET], starts=False))
    with pytest.raises(MicrophoneError, match=r"Headset cannot be opened .*unavailable"), record():
        pass
    assert driver.stream.closed


def test_device_is_closed_when_the_context_is_left_by_an_error(driver: Driver) -> None:
    with pytest.raises(ZeroDivisionError), record():
        raise ZeroDivisionError
    assert driver.stream.closed


# Capturing


def test_a_driver_that_hangs_on_closing_is_abandoned(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(microphone, "_CLOSING_SECONDS", 0.05)
    forgotten: list[object] = []
    monkeypatch.setattr(atexit, "unregister", forgotten.append)
    released = Event()
    with record() as source:
        monkeypatch.setattr(driver.stream, "close", released.wait)
        driver.stream.hear(noise(1600))
        source.stop()
    released.set()
    assert "does not close it" in caplog.text
    assert forgotten == [Driver._exit_handler]


def test_nothing_is_lost_before_reading_begins(driver: Driver) -> None:
    played = noise(160_000)
    with record() as recorder:
        for block in np.array_split(played, 1000):
            driver.stream.hear(block)
    assert np.array_equal(joined(recorder.blocks()), played)


def test_samples_beyond_full_scale_are_clipped(driver: Driver) -> None:
    with record() as recorder:
        driver.stream.hear(np.array([-3.0, 0.25, 1.5], np.float32))
    assert joined(recorder.blocks()).tolist() == [-1.0, 0.25, 1.0]


def test_sound_in_the_buffer_of_the_driver_at_the_stop_is_captured(driver: Driver) -> None:
    played = noise(SAMPLE_RATE)
    with record() as recorder:
        driver.stream.hear(played[:1000])
        recorder.stop()
        for block in np.array_split(played[1000:], 20):
            driver.stream.hear(block)
        heard = joined(recorder.blocks())
    held = len(heard) - 1000
    assert np.array_equal(heard, played[: len(heard)])
    assert microphone.LATENCY_SECONDS <= held / SAMPLE_RATE < microphone.LATENCY_SECONDS + 0.1


def test_stop_before_the_first_block_gives_nothing(driver: Driver) -> None:
    with record() as recorder:
        recorder.stop()
        driver.stream.fail()
        assert list(recorder.blocks()) == []


def test_stopping_twice_is_stopping_once(driver: Driver) -> None:
    played = noise(500)
    with record() as recorder:
        driver.stream.hear(played)
        recorder.stop()
        recorder.stop()
        driver.stream.fail()
        assert np.array_equal(joined(recorder.blocks()), played)


def test_reading_does_not_wait_for_a_stopped_device_without_sound(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "_TICK_SECONDS", 0.001)
    monkeypatch.setattr(microphone, "_ENDING_SECONDS", 0.002)
    with record() as recorder:
        driver.stream.hear(noise(500))
        recorder.stop()
        assert len(joined(recorder.blocks())) == 500


# Failures while recording


def test_an_error_of_a_device_comes_after_all_its_sound(driver: Driver) -> None:
    played = noise(8000)
    with record() as recorder:
        driver.stream.hear(played)
        driver.stream.fail()
        blocks = recorder.blocks()
        assert np.array_equal(next(blocks), played)
        with pytest.raises(MicrophoneError, match=r"Headset stopped sending sound after 0\.5 s: "):
            next(blocks)


def test_an_error_of_a_resampled_device_comes_after_all_its_sound(install: Install) -> None:
    """The resampler holds samples back until the end of the input."""
    driver = install(Driver([HEADSET, device("Webcam")], refuses=(SAMPLE_RATE,)))
    count = 0
    with record() as recorder:
        driver.stream.hear(noise(48_000))
        driver.stream.fail()
        with pytest.raises(MicrophoneError, match="Webcam stopped sending sound"):
            for block in recorder.blocks():
                count += len(block)
    assert count == SAMPLE_RATE


def test_a_device_that_delivers_nothing_is_an_error(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some drivers do not report that the device was unplugged."""
    monkeypatch.setattr(microphone, "_TICK_SECONDS", 0.001)
    monkeypatch.setattr(microphone, "STALLED_SECONDS", 0.002)
    with record() as recorder:
        driver.stream.hear(noise(500))
        blocks = recorder.blocks()
        assert len(next(blocks)) == 500
        with pytest.raises(MicrophoneError, match="stopped sending sound"):
            next(blocks)


def test_pauses_of_a_driver_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halting:
        """A queue that is empty at times, for nearly as long as a reader waits."""

        def __init__(self) -> None:
            halt = [None] * round(microphone.STALLED_SECONDS / microphone._TICK_SECONDS - 1)
            self._entries = [noise(500), *halt, noise(500), *halt, noise(500)]

        def get(self, timeout: float) -> Samples:
            entry = self._entries.pop(0)
            if entry is None:
                raise Empty
            return entry

    monkeypatch.setattr(microphone, "SimpleQueue", Halting)
    blocks = Recorder("Headset", SAMPLE_RATE).blocks()
    assert [len(next(blocks)) for _ in range(3)] == [500] * 3


def test_sound_that_the_driver_lost_is_counted_and_logged(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    with record() as recorder:
        driver.stream.hear(noise(500))
        driver.stream.hear(noise(500), overflow=True)
        driver.stream.hear(noise(500), overflow=True)
    list(recorder.blocks())
    assert recorder.overflows == 2
    assert "Headset: sound was lost 2 times" in caplog.text


def test_a_recording_of_zeros_is_an_error(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """macOS sends zeros to a terminal without permission to use the microphone."""
    with record() as recorder:
        for _ in range(5):
            driver.stream.hear(np.zeros(SAMPLE_RATE, np.float32))
    with pytest.raises(MicrophoneError, match=r"only silence: .*Privacy & Security"):
        list(recorder.blocks())
    assert caplog.text.count("only silence") == 1


def test_zeros_are_logged_while_recording(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    with record() as recorder:
        driver.stream.hear(np.zeros(SAMPLE_RATE * 3, np.float32))
        next(recorder.blocks())
        assert "only silence" in caplog.text


def test_sound_is_not_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    with record() as recorder:
        driver.stream.hear(noise(SAMPLE_RATE * 4))
    list(recorder.blocks())
    assert caplog.text == ""


def test_zeros_before_the_first_sound_are_accepted(driver: Driver) -> None:
    with record() as recorder:
        driver.stream.hear(np.zeros(SAMPLE_RATE * 3, np.float32))
        driver.stream.hear(noise(500))
    assert len(joined(recorder.blocks())) == SAMPLE_RATE * 3 + 500


# The meter


def test_the_level_is_that_of_the_latest_block_also_without_reading(driver: Driver) -> None:
    with record() as recorder:
        driver.stream.hear(noise(500))
        driver.stream.hear(np.full(500, 0.1, np.float32))
        assert recorder.level.peak == pytest.approx(-20.0, abs=1e-4)


def test_the_level_before_the_first_block_is_silence(driver: Driver) -> None:
    with record() as recorder:
        assert recorder.level == Level(peak=-math.inf)


def test_level_of_a_sine() -> None:
    sine = np.sin(2 * np.pi * np.arange(1600) / 16).astype(np.float32)
    level = Level.of(sine)
    assert level.peak == pytest.approx(0.0, abs=1e-5)


def test_level_of_zeros() -> None:
    assert Level.of(np.zeros(10, np.float32)) == Level(peak=-math.inf)
