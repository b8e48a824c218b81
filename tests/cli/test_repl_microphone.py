"""``/mic`` at a terminal, over a sound server: a clip ends at a pause, and at Enter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import Terminal
from support import sound_server
from support.samples import sample

PROMPT = "\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""

SPEECH = sample("speech00.wav")

LACK = sound_server.lack()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(LACK), reason=LACK)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """The folder of a sound server."""
    home = tmp_path / "pulse"
    home.mkdir()
    with sound_server.running(home):
        yield home


def recorded(shown: str) -> float:
    """Seconds of the clip that the program reports."""
    (seconds,) = re.findall(r"recording[ \d]*: ([\d.]+) s", shown)
    return float(seconds)


def test_clips_end_at_a_pause_and_at_enter(server: Path) -> None:
    options = ("-m", "tiny", "--no-log", "--mic", "--device", sound_server.DEVICE)
    with Terminal("chat", *options, env=sound_server.variables(server)) as terminal:
        terminal.expect("stops at Enter or a pause")
        sound_server.play(SPEECH, server)
        assert recorded(terminal.expect(PROMPT)) > 1

        terminal.type("/mic\r")
        terminal.expect("stops at Enter or a pause")
        sound_server.play(SPEECH, server)
        assert recorded(terminal.expect("is attached to the next question")) > 1
        terminal.expect(PROMPT)

        # Silence has no pause.
        terminal.type("/mic\r")
        terminal.expect("stops at Enter or a pause")
        terminal.type("\r")
        assert recorded(terminal.expect("is attached to the next question")) < 20
        terminal.expect(PROMPT)
        terminal.type("/exit\r")
        assert terminal.wait() == 0
