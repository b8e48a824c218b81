"""``g4 transcribe --mic``, with a recording in the place of the microphone."""

from __future__ import annotations

import os
import signal
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cli_runs import assert_fails, records, tiny_g4
from support.samples import TEXT_OF, sample

from gemma4cli.cli.transcribe.progress import level_bar
from gemma4cli.cli.transcribe.run import interrupting
from gemma4cli.errors import MicrophoneError
from gemma4cli.media.sound import microphone
from gemma4cli.media.sound.microphone import Level, Microphone

SPEECH, BALLS = "speech00.wav", "speech01.wav"


class Tape:
    """Two sentences, a second and a half apart; an error may follow them."""

    def __init__(self, error: MicrophoneError | None = None) -> None:
        self.error = error
        self.stopped = False

    @property
    def level(self) -> Level:
        return Level(peak=-20.0)

    def stop(self) -> None:
        self.stopped = True

    def blocks(self) -> Iterator[np.ndarray]:
        for name in (SPEECH, BALLS):
            with wave.open(sample(name)) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            sound = np.concatenate([samples / 32768, np.zeros(24_000)]).astype(np.float32)
            yield from (sound[start : start + 1600] for start in range(0, len(sound), 1600))
        if self.error:
            raise self.error


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, Tape]:
    """Devices by name."""
    devices: dict[str | None, Tape] = {None: Tape()}

    @contextmanager
    def record(wanted: str | None = None) -> Iterator[Tape]:
        if wanted not in devices:
            raise MicrophoneError(f"no device fits {wanted!r}")
        yield devices[wanted]

    monkeypatch.setattr(microphone, "record", record)
    return devices


def test_a_line_at_each_pause(plugged: dict[str | None, Tape]) -> None:
    result = tiny_g4("transcribe", "--mic")
    assert result.exit_code == 0
    assert result.stdout == f"{TEXT_OF[SPEECH]}\n{TEXT_OF[BALLS]}\n"
    assert result.stderr.splitlines() == ["recording; Ctrl-C stops", "microphone: 2 pieces in 0:07"]
    assert plugged[None].stopped


def test_json_lines(plugged: dict[str | None, Tape]) -> None:
    first, second, whole = records(tiny_g4("transcribe", "--mic", "--json", "-q"))
    assert [first["text"], second["text"]] == [TEXT_OF[SPEECH], TEXT_OF[BALLS]]
    assert first["end"] < 3.0 < second["start"]
    assert (whole["input"], whole["pieces"]) == ("microphone", 2)


def test_subtitles_to_a_file(plugged: dict[str | None, Tape], tmp_path: Path) -> None:
    tiny_g4("transcribe", "--mic", "-f", "srt", "-o", tmp_path / "out.srt")
    assert TEXT_OF[BALLS] in (tmp_path / "out.srt").read_text()


def test_a_device_that_breaks_off_loses_nothing(
    plugged: dict[str | None, Tape], tmp_path: Path
) -> None:
    plugged["Desk"] = Tape(MicrophoneError("Desk gives no more sound after 7.4 s"))
    result = tiny_g4("transcribe", "--mic", "--device", "Desk", "-o", tmp_path / "out.txt")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        "g4: microphone: Desk gives no more sound after 7.4 s"
    )
    assert (tmp_path / "out.txt").read_text() == f"{TEXT_OF[SPEECH]}\n{TEXT_OF[BALLS]}\n"


def test_an_unknown_device(plugged: dict[str | None, Tape]) -> None:
    assert_fails(tiny_g4("transcribe", "--mic", "--device", "Sofa"), 3, "no device fits 'Sofa'")


def test_devices_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = (
        Microphone(index=0, name="Desk", channels=1, sample_rate=48_000.0, is_default=False),
        Microphone(index=12, name="Head\x07set", channels=1, sample_rate=16_000.0, is_default=True),
    )
    found = iter([devices, devices, ()])
    monkeypatch.setattr(microphone, "list_devices", lambda: next(found))
    assert tiny_g4("transcribe", "--list-devices").stdout == "   0 Desk\n* 12 Head\x07set\n"
    assert records(tiny_g4("transcribe", "--list-devices", "--json")) == [
        {"index": 0, "name": "Desk", "default": False},
        {"index": 12, "name": "Head\x07set", "default": True},
    ]
    result = tiny_g4("transcribe", "--list-devices")
    assert (result.stdout, result.stderr) == ("", "no device can record\n")


def test_the_first_interrupt_stops_and_the_second_ends() -> None:
    stops: list[int] = []
    with interrupting(lambda: stops.append(1)):
        os.kill(os.getpid(), signal.SIGINT)
        assert stops == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_level_is_drawn_as_a_bar(subtests: pytest.Subtests) -> None:
    for decibels, bar in [
        (0.0, "▮▮▮▮   0 dB"),
        (-30.0, "▮▮▯▯ -30 dB"),
        (-90.0, "▯▯▯▯ -90 dB"),
        (float("-inf"), "▯▯▯▯  silent"),
    ]:
        with subtests.test(decibels=decibels, bar=bar):
            assert level_bar(decibels, width=4) == bar
