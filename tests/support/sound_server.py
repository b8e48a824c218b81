"""A private PulseAudio server for one test, with a device that records what is played to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import MicrophoneError
from gemma4cli.media.sound.audio import Samples
from gemma4cli.media.sound.microphone import import_sounddevice

DEVICE = "pulse"
"""PortAudio's name for the server's device."""
PATIENCE = 20.0


def lack() -> str:
    """What this machine lacks for these tests, "" if nothing."""
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            return f"the {program} program is missing"
    try:
        import_sounddevice()
    except MicrophoneError as error:
        return str(error)
    return ""


def variables(home: Path) -> dict[str, str]:
    """The environment variables that make programs use the server in the folder ``home``."""
    return {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PULSE_SERVER": f"unix:{home}/socket",
    }


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running server; ``home`` is an empty folder for it."""
    home.chmod(0o700)
    environment = {**os.environ, **variables(home)}
    with subprocess.Popen(
        [
            *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"),
            *("-L", f"module-native-protocol-unix auth-anonymous=1 socket={home}/socket"),
            *("-L", "module-null-sink sink_name=g4 rate=48000"),
        ],
        env=environment,
    ) as process:
        try:
            for _ in range(100):
                asked = subprocess.run(
                    ["pactl", "info"], capture_output=True, check=False, env=environment
                )
                if asked.returncode == 0:
                    break
                time.sleep(0.1)
            else:
                pytest.fail("the sound server does not start")
            yield process
        finally:
            process.kill()


def write(samples: Samples, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def play(path: Path | str, home: Path) -> None:
    """Play a file to the device of the server in the folder ``home``; returns when it ends."""
    subprocess.run(
        ["paplay", "--device=g4", str(path)],
        check=True,
        timeout=PATIENCE,
        env={**os.environ, **variables(home)},
    )
