"""Whether cutting long recordings costs words, and how fast and how large transcription is.

    python benchmarks/transcribe.py joints -m tiny      # word errors by kind, length and format
    python benchmarks/transcribe.py batches -m tiny     # speed against real time, by batch
    python benchmarks/transcribe.py memory -m tiny      # peak memory by duration

Recordings are joined from the sentences of fixtures/held_out, which the built-in model was not
trained on: the rates say something about that model only. A table for people, and as the last line
of stdout one JSON document.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import gemma4cli
from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.engine.model import LoadedModel
from gemma4cli.transcript import RecordingFinished

HELD_OUT = Path(__file__).parents[1] / "fixtures" / "held_out"
FORMATS = ("flac", "mp3", "opus", "m4a", "mp4")
_KIND_SECONDS = 600.0
_FORMAT_SECONDS = 600.0
_UNBROKEN = ((300.0, 0), (200.0, 300), (400.0, 500))
"""Seconds, and the number of the first sentence."""
_AUDIBLE = 0.01
_REST_SECONDS = 0.3

Samples = np.ndarray


@dataclass(frozen=True, eq=False)
class Spoken:
    """A recorded sentence and its words."""

    samples: Samples
    written: str


@cache
def sentences() -> tuple[Spoken, ...]:
    """The held-out sentences, without the silence around them."""
    cases = json.loads((HELD_OUT / "tiny.json").read_bytes())
    return tuple(
        Spoken(audible(read(HELD_OUT / case["audio"][0])), case["answer"])
        for case in cases
        if case["row"] == "speech: unseen sentences"
    )


def spoken(number: int) -> Spoken:
    return sentences()[number % len(sentences())]


def read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def audible(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > _AUDIBLE * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def generator(*key: object) -> np.random.Generator:
    """Repeatable random numbers, of their own for each key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def noise(rng: np.random.Generator, count: int) -> Samples:
    """Pink noise with a deviation of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    samples = np.fft.irfft(spectrum, count)
    return (samples / samples.std()).astype(np.float32)


def mixed(speech: Samples, added: Samples, decibels: float) -> Samples:
    """Speech with noise so far below it."""
    return speech + added * speech.std() * 10 ** (-decibels / 20)


def with_rests(samples: Samples) -> Samples:
    """A sentence as somebody would record it, with a moment of silence around it."""
    rest = np.zeros(int(_REST_SECONDS * SAMPLE_RATE), np.float32)
    return np.concatenate([rest, samples, rest])


def pause(rng: np.random.Generator, kind: str, seconds: float) -> Samples:
    """Sound without words: silence, hum and hiss, or tones that change like a tune."""
    count = int(seconds * SAMPLE_RATE)
    if kind == "silence":
        return np.zeros(count, np.float32)
    if kind == "noise":
        return (0.01 * noise(rng, count)).astype(np.float32)
    beat = SAMPLE_RATE // 4
    pitches = 220.0 * 2 ** (rng.integers(0, 18, 1 + count // beat) / 12)
    phase = np.cumsum(np.repeat(pitches, beat)[:count]) * 2 * np.pi / SAMPLE_RATE
    return (0.1 * np.sin(phase) + 0.05 * np.sin(2 * phase)).astype(np.float32)


def joined(seconds: float, kind: str, first: int = 0) -> tuple[Samples, list[Spoken]]:
    """A recording of about so many seconds, and its sentences, in its noise if it has any."""
    rng = generator("benchmark", "joined", kind, int(seconds))
    parts: list[Samples] = []
    sentences: list[Spoken] = []
    spans: list[slice] = []
    length = 0
    while length < seconds * SAMPLE_RATE:
        sentences.append(spoken(first + len(sentences)))
        parts.append(sentences[-1].samples)
        spans.append(slice(length, length + len(parts[-1])))
        if kind != "unbroken":
            between = "silence" if kind == "noisy" else kind
            parts.append(pause(rng, between, float(rng.uniform(0.3, 5.0))))
        length = spans[-1].stop + (0 if kind == "unbroken" else len(parts[-1]))
    whole = np.concatenate(parts)
    if kind == "noisy":
        whole = mixed(whole, noise(rng, len(whole)), 15.0)
    whole = np.clip(whole, -1, 1)
    if kind == "noisy":
        # Heard one by one without the noise, they would make its cost one of joining.
        sentences = [
            replace(each, samples=whole[span]) for each, span in zip(sentences, spans, strict=True)
        ]
    return whole, sentences


def write(path: Path, samples: Samples) -> Path:
    """A WAV file, or by ffmpeg any other."""
    plain = path.with_suffix(".wav")
    with wave.open(str(plain), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    if path.suffix != ".wav":
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(plain), str(path)]
        subprocess.run(command, check=True, timeout=600)
    return path


def error_rate(right: Sequence[str], heard: Sequence[str]) -> float:
    import jiwer

    return float(jiwer.wer(" ".join(right), " ".join(heard)))


def tell(row: Mapping[str, object]) -> None:
    """A row of the table for people, as soon as it is known."""
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def texts(model: LoadedModel, files: Sequence[Path], batch: int | None = None) -> list[str]:
    options = gemma4cli.TranscribeOptions(language="English", batch=batch)
    found = [""] * len(files)
    for event in gemma4cli.stream_transcribe(model, files, options=options):
        if isinstance(event, RecordingFinished):
            found[event.recording] = " ".join(segment.text for segment in event.segments)
    return found


@dataclass(frozen=True)
class Case:
    """Recordings of a kind, each with its sentences."""

    kind: str
    suffix: str
    recordings: Sequence[tuple[Samples, list[Spoken]]]


def cases(seconds: Sequence[float]) -> Iterator[Case]:
    for length in seconds:
        yield Case("silence", "wav", [joined(length, "silence")])
    for kind in ("noise", "tones", "noisy"):
        yield Case(kind, "wav", [joined(_KIND_SECONDS, kind)])
    for suffix in FORMATS:
        yield Case("silence", suffix, [joined(_FORMAT_SECONDS, "silence")])
    unbroken = [joined(length, "unbroken", first) for length, first in _UNBROKEN]
    yield Case("unbroken, another voice each time", "wav", unbroken)


def joints(model: LoadedModel, folder: Path, seconds: Sequence[float]) -> list[dict[str, object]]:
    """The rate of each kind of long recordings beside that of their sentences one by one."""
    rows: list[dict[str, object]] = []
    alone: dict[Spoken, str] = {}
    for case in cases(seconds):
        wholes = [samples for samples, _ in case.recordings]
        sentences = [each for _, those in case.recordings for each in those]
        right = [each.written for each in sentences]
        new = [each for each in dict.fromkeys(sentences) if each not in alone]
        files = [
            write(folder / f"{number}.wav", with_rests(each.samples))
            for number, each in enumerate(new)
        ]
        alone |= zip(new, texts(model, files), strict=True)
        files = [
            write(folder / f"whole{number}.{case.suffix}", samples)
            for number, samples in enumerate(wholes)
        ]
        one = error_rate(right, [alone[each] for each in sentences])
        many = error_rate(right, texts(model, files))
        rows.append(
            {
                "kind": case.kind,
                "format": case.suffix,
                "seconds": round(sum(map(len, wholes)) / SAMPLE_RATE),
                "words": len(" ".join(right).split()),
                "single": round(one, 4),
                "joined": round(many, 4),
            }
        )
        tell(rows[-1])
    return rows


def batches(model: LoadedModel, folder: Path, repeat: int) -> list[dict[str, object]]:
    """Seconds of sound in a second, for a recording of three minutes; medians."""
    samples, _ = joined(180.0, "silence")
    file = write(folder / "whole.wav", samples)
    spent: dict[int, list[float]] = {1: [], 2: [], 4: [], 8: []}
    for _ in range(repeat):
        for batch, times in spent.items():
            started = time.perf_counter()
            texts(model, [file], batch)
            times.append(time.perf_counter() - started)
    rows: list[dict[str, object]] = []
    for batch, times in spent.items():
        speed = len(samples) / SAMPLE_RATE / statistics.median(times)
        gain = statistics.median(spent[1]) / statistics.median(times)
        rows.append({"batch": batch, "times real time": round(speed, 1), "gain": round(gain, 2)})
        tell(rows[-1])
    return rows


def memory(name: str, folder: Path, seconds: Sequence[float]) -> list[dict[str, object]]:
    """Peak memory of a process that transcribes so long a recording, one sentence a minute."""
    rows: list[dict[str, object]] = []
    for length in seconds:
        file = folder / "long.wav"
        with wave.open(str(file), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            for minute in range(int(length // 60)):
                block = np.zeros(60 * SAMPLE_RATE, np.float32)
                said = spoken(minute % 20).samples
                block[SAMPLE_RATE : SAMPLE_RATE + len(said)] = said
                out.writeframes((block * 32767).astype("<i2").tobytes())
        started = time.perf_counter()
        command = [sys.executable, __file__, "one", "-m", name, "--file", str(file)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(
            {"seconds": int(length), "wall": round(time.perf_counter() - started, 1)}
            | json.loads(done.stdout.splitlines()[-1])
        )
        tell(rows[-1])
    return rows


def one(name: str, file: Path) -> None:
    """In a process of its own: what loading takes, and what it grows to."""
    model = gemma4cli.load(name)
    texts(model, [write(file.with_name("short.wav"), spoken(0).samples)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = len(" ".join(texts(model, [file])).split())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"words": words, "MB before": before // 1024, "MB at most": after // 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("joints", "batches", "memory", "one"))
    parser.add_argument("-m", "--model", default="tiny")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 60.0, 600.0, 3600.0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "one":
        one(arguments.model, arguments.file)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.what == "memory":
            rows = memory(arguments.model, folder, arguments.seconds)
        else:
            model = gemma4cli.load(arguments.model)
            run: Callable[[], list[dict[str, object]]] = {
                "joints": lambda: joints(model, folder, arguments.seconds),
                "batches": lambda: batches(model, folder, arguments.repeat),
            }[arguments.what]
            rows = run()
    print(json.dumps({arguments.what: rows}))


if __name__ == "__main__":
    main()
