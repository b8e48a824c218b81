"""A transcription that was cut off resumes where it ended, whatever ended it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runs import environment, g4_in, tiny_g4
from support.samples import sample
from test_cli_transcribe import samples_of, write_wav

NAMES = [f"speech{number:02d}.wav" for number in range(6)]
PATIENCE = 90.0


@pytest.fixture
def long(tmp_path: Path) -> Path:
    parts: list[object] = []
    for name in NAMES:
        parts += [samples_of(sample(name)), 3.0]
    return write_wav(tmp_path / "long.wav", parts)  # type: ignore[arg-type]


def uninterrupted(*recordings: Path) -> str:
    """What a run prints that nothing stops."""
    text = tiny_g4("transcribe", *recordings).stdout
    assert text.count("\n") >= len(recordings)
    return text


def journals() -> list[Path]:
    folder = Path(os.environ["XDG_STATE_HOME"]) / "g4" / "transcripts"
    return sorted(folder.glob("*")) if folder.exists() else []


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gemma4cli", "transcribe", "-m", "tiny", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_pieces(process: subprocess.Popen[str], count: int) -> None:
    """Wait until ``count`` pieces are on disk."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if any(path.read_bytes().count(b"\n") > count for path in journals()):
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"no {count} pieces before the end: {process.communicate()}")


class InterruptedOutput(io.StringIO):
    """A stream that Ctrl-C ends at its second line."""

    def write(self, text: str) -> int:
        if "\n" in self.getvalue():
            raise KeyboardInterrupt
        return super().write(text)


def test_an_interrupted_run_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    parts = [samples_of(sample(NAMES[0])), 3.0, samples_of(sample(NAMES[3])), 1.0]
    talk = write_wav(tmp_path / "talk.wav", parts)
    command = ("transcribe", "-m", "tiny", talk, "--batch", "1")
    out = InterruptedOutput()
    stopped = g4_in(environment(stdout=out, **os.environ), *command)
    assert stopped.exit_code == 130
    assert len(journals()) == 1
    resumed = g4_in(environment(**os.environ), *command)
    assert resumed.exit_code == 0
    assert "talk.wav: resumes at 0:0" in resumed.stderr
    assert resumed.stdout.startswith(stopped.stdout)
    assert resumed.stdout.count("\n") == 2
    assert journals() == []
    assert resumed.stdout == uninterrupted(talk)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_transcription_that_was_cut_off_is_resumed_by_the_same_command(
    long: Path, tmp_path: Path, number: signal.Signals
) -> None:
    text = uninterrupted(long)
    assert text.count("\n") == len(NAMES)
    out = tmp_path / "out.txt"
    with started(long, "--batch", "1", "-o", out) as process:
        wait_for_pieces(process, 2)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]

    result = tiny_g4("transcribe", long, "--batch", "1", "-o", out)
    assert result.exit_code == 0
    assert "long.wav: resumes at 0:" in result.stderr
    assert out.read_text() == text
    assert journals() == []


@pytest.mark.slow
def test_other_options_start_a_transcription_over(long: Path, tmp_path: Path) -> None:
    with started(long, "--batch", "1", "-o", tmp_path / "out.txt") as process:
        wait_for_pieces(process, 2)
        process.kill()
        process.communicate()
    for option in (["--language", "en"], ["--restart"]):
        result = tiny_g4("transcribe", long, "-o", tmp_path / "out.txt", *option)
        assert "resumes" not in result.stderr


@pytest.mark.slow
def test_a_resumed_transcription_may_have_another_batch(long: Path, tmp_path: Path) -> None:
    text = uninterrupted(long)
    with started(long, "--batch", "1") as process:
        wait_for_pieces(process, 3)
        process.kill()
        process.communicate()
    result = tiny_g4("transcribe", long, "--batch", "4")
    assert "resumes" in result.stderr
    assert result.stdout == text


@pytest.mark.slow
def test_a_changed_recording_is_transcribed_from_the_start(long: Path, tmp_path: Path) -> None:
    with started(long, "--batch", "1") as process:
        wait_for_pieces(process, 2)
        process.kill()
        process.communicate()
    write_wav(long, [1.0, samples_of(sample(NAMES[3]))])
    result = tiny_g4("transcribe", long)
    assert "resumes" not in result.stderr
    changed = result.stdout
    assert changed == uninterrupted(long)
    assert changed.count("\n") == 1


@pytest.mark.slow
def test_finished_recordings_of_an_interrupted_run_are_not_transcribed_again(
    long: Path, tmp_path: Path
) -> None:
    short = tmp_path / "a.wav"
    short.write_bytes(Path(sample(NAMES[0])).read_bytes())
    text_of_short, text_of_long = uninterrupted(short), uninterrupted(long)
    with started(short, long, "--batch", "1", "-o", tmp_path / "out") as process:
        wait_for_pieces(process, 2)
        process.kill()
        process.communicate()
    assert (tmp_path / "out" / "a.txt").read_text() == text_of_short
    result = tiny_g4("transcribe", short, long, "-o", tmp_path / "out")
    assert result.exit_code == 0
    first, second = (line for line in result.stderr.splitlines() if "resumes" in line)
    assert first.startswith(f"{short}: resumes at 0:02")
    assert second.startswith(f"{long}: resumes at 0:")
    assert (tmp_path / "out" / "long.txt").read_text() == text_of_long
    assert journals() == []


def test_a_transcription_works_without_a_writable_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    text = uninterrupted(Path(sample(NAMES[0])))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    result = tiny_g4("transcribe", sample(NAMES[0]))
    assert result.stdout == text
    assert "an interrupted run will start over" in result.stderr
