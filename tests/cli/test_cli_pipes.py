"""``g4 transcribe -`` as a process at the end of a pipe that its writer holds open."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cli_runs import command_line, run_g4
from support.samples import TEXT_OF, sample
from support.sound_files import Track, write_tracks

from gemma4cli.media.sound.audio import load_audio
from gemma4cli.messages import Source

SPEECH = "speech04.wav"
PATIENCE = 120


def with_pause(path: Path, codec: str = "pcm_s16le") -> Path:
    """A sentence, and then so much silence that it is known to be over."""
    samples = np.round(load_audio(Source.of(sample(SPEECH))).samples * 32767).astype(np.int16)
    return write_tracks(path, Track(samples=np.pad(samples, (0, 80_000))[None], codec=codec))


def start(*args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command_line("transcribe", "-", "-m", "tiny", *args),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.ts", "aac")])
def test_a_segment_is_written_before_the_pipe_ends(tmp_path: Path, name: str, codec: str) -> None:
    data = with_pause(tmp_path / name, codec).read_bytes()
    with start() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        process.stdin.flush()
        assert process.stdout.readline().decode() == f"{TEXT_OF[SPEECH]}\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == b""


@pytest.mark.slow
def test_an_interrupt_of_an_open_pipe_keeps_what_was_written(tmp_path: Path) -> None:
    data = with_pause(tmp_path / "a.wav").read_bytes()
    with start("--json", "--segments", "-o", "out.jsonl") as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(data)
        process.stdin.flush()
        out = Path("out.jsonl")
        while not out.exists():
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert b"standard input cannot be resumed" in process.stderr.read()
    (line,) = out.read_text("utf-8").splitlines()
    assert json.loads(line)["text"] == TEXT_OF[SPEECH]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["txt", "srt", "vtt", "tsv", "json"])
def test_a_pipe_gives_the_documents_of_its_file(tmp_path: Path, format: str) -> None:
    path = with_pause(tmp_path / "a.flac", "flac")
    of_file = run_g4("transcribe", "-m", "tiny", path, "-f", format)
    with start("-f", format) as process:
        written, _ = process.communicate(path.read_bytes(), PATIENCE)
    assert written == of_file.stdout
    assert written
