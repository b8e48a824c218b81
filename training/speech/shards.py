"""Clips on disk: log-mel features and what is said in them, a few hundred clips a file.

``python -m training.speech.shards WORK`` makes the held-out sets and then the training set. A file
is written whole or not at all, and files that are there already are kept. Every file is made by a
process of its own, because espeak-ng's flutter depends on what the process said before: so the
content of a file is a function of its set and its number.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gemma4cli.processing.audio import log_mel
from gemma4cli.processing.config import MelConfig, ProcessorConfig

from ..amounts import CLIPS_PER_SHARD, RECIPE
from ..cores import half_the_cores
from .clips import ASKED, TRAIN, UNBROKEN, Clip, clip
from .targets import phoneme_ids, word_ids

HELD_OUT_COUNTS = {
    "unseen": 400,
    "noisy": 200,
    "random": 150,
    "german": 100,
    "no words": 60,
    "sentences": 60,
    "cut": 60,
}
_PROCESSOR = Path(__file__).parents[2] / "gemma4cli" / "builtin" / "tiny" / "processor_config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipText:
    """What is said in a clip; several sentences stand one after the other."""

    kind: str
    language: str
    voice: str
    spoken: str
    written: str
    english: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredClip:
    """``mel`` float16 ``[T, bins]`` and the targets of both spellings."""

    mel: npt.NDArray[np.float16]
    words: npt.NDArray[np.int16]
    phonemes: npt.NDArray[np.int16]
    text: ClipText


def mel_config() -> MelConfig:
    """The features that the shipped model is given."""
    raw = json.loads(_PROCESSOR.read_text())
    audio = ProcessorConfig.from_dict(raw, unified=False).audio
    if not isinstance(audio, MelConfig):
        raise TypeError(f"{_PROCESSOR} is not that of a model with an audio tower")
    return audio


def set_folder(set_name: str) -> str:
    return set_name.replace(" ", "_")


def shard_path(work: Path, set_name: str, number: int) -> Path:
    return work / "clips" / set_folder(set_name) / f"{number:05d}.npz"


def stored(spoken: Clip) -> StoredClip:
    ids = word_ids()
    words = [ids[word] for said in spoken.sentences for word in said.spoken]
    return StoredClip(
        mel=log_mel(spoken.samples, mel_config()).astype(np.float16),
        words=np.array(words, np.int16),
        phonemes=np.array(phoneme_ids(spoken.phonemes), np.int16),
        text=ClipText(
            kind=spoken.kind,
            language=spoken.language,
            voice=spoken.voice,
            spoken=" ".join(word for said in spoken.sentences for word in said.spoken),
            written=" ".join(said.written for said in spoken.sentences),
            english=" ".join(said.english for said in spoken.sentences),
        ),
    )


def write_shard(work: Path, set_name: str, number: int, count: int = CLIPS_PER_SHARD) -> None:
    """Make clips ``number * CLIPS_PER_SHARD`` and the ``count - 1`` after it."""
    first = number * CLIPS_PER_SHARD
    clips = [stored(clip(set_name, index)) for index in range(first, first + count)]
    texts = json.dumps([asdict(c.text) for c in clips], ensure_ascii=False)
    path = shard_path(work, set_name, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    with unfinished.open("wb") as file:
        np.savez(
            file,
            mel=np.concatenate([c.mel for c in clips]),
            mel_lengths=np.array([len(c.mel) for c in clips]),
            words=np.concatenate([c.words for c in clips]),
            word_lengths=np.array([len(c.words) for c in clips]),
            phonemes=np.concatenate([c.phonemes for c in clips]),
            phoneme_lengths=np.array([len(c.phonemes) for c in clips]),
            texts=np.frombuffer(texts.encode(), np.uint8),
        )
    os.replace(unfinished, path)


def read_shard(work: Path, set_name: str, number: int) -> list[StoredClip]:
    with np.load(shard_path(work, set_name, number)) as file:
        mels = np.split(file["mel"], np.cumsum(file["mel_lengths"])[:-1])
        words = np.split(file["words"], np.cumsum(file["word_lengths"])[:-1])
        phonemes = np.split(file["phonemes"], np.cumsum(file["phoneme_lengths"])[:-1])
        texts = [ClipText(**text) for text in json.loads(file["texts"].tobytes())]
    return [
        StoredClip(mel=m, words=w, phonemes=p, text=t)
        for m, w, p, t in zip(mels, words, phonemes, texts, strict=True)
    ]


def _make(work: Path, job: tuple[str, int, int]) -> None:
    set_name, number, count = job
    if shard_path(work, set_name, number).exists():
        return
    started = time.monotonic()
    process = multiprocessing.get_context("spawn").Process(
        target=write_shard, args=(work, set_name, number, count)
    )
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"clips {number} of {set_name!r} were not made")
    sys.stdout.write(f"{set_name} {number}: {time.monotonic() - started:.1f} s\n")
    sys.stdout.flush()


def add_counts(parser: argparse.ArgumentParser) -> None:
    """Options for how many clips of each set there are to learn from."""
    parser.add_argument("--count", type=int, default=RECIPE.clips, help="clips of the training set")
    parser.add_argument("--asked", type=int, default=RECIPE.asked, help="questions about pictures")
    parser.add_argument(
        "--unbroken", type=int, default=RECIPE.unbroken, help="of one voice without a pause"
    )


def learnt_from(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """Set and number of every file that these options ask for."""
    counts = {TRAIN: arguments.count, ASKED: arguments.asked, UNBROKEN: arguments.unbroken}
    return [
        (name, number)
        for name, count in counts.items()
        for number in range(count // CLIPS_PER_SHARD)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the clips that the audio tower hears.")
    parser.add_argument("work", type=Path, help="folder for working data")
    add_counts(parser)
    parser.add_argument("--jobs", type=int, default=half_the_cores(), help="files made at once")
    arguments = parser.parse_args()
    held_out = [(name, 0, count) for name, count in HELD_OUT_COUNTS.items()]
    training = [(name, number, CLIPS_PER_SHARD) for name, number in learnt_from(arguments)]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(partial(_make, arguments.work), held_out + training))


if __name__ == "__main__":
    main()
