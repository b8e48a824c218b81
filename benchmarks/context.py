"""Whether it helps to tell a model what was said in the piece before.

    python benchmarks/context.py -m tiny

Recordings are cut as `g4 transcribe` does it, and each piece is asked for in three ways: alone, as
the tool asks; with the text before it in the prompt; as the next turn, behind the sound and text
of the piece before. Pieces with context have to be heard one after the other. The recordings are
those of transcribe.py. A table for people, and as the last line of stdout one JSON document.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from transcribe import Samples, error_rate, joined, tell

import gemma4cli
from gemma4cli import prompts
from gemma4cli.decoded import SAMPLE_RATE, AudioClip
from gemma4cli.engine.batch import generate_batch
from gemma4cli.engine.model import LoadedModel
from gemma4cli.messages import AudioPart, Message, Source, TextPart
from gemma4cli.options import GenerateOptions, TranscribeOptions
from gemma4cli.transcript import RecordingFinished
from gemma4cli.transcription.assembly import Assembly
from gemma4cli.transcription.journal import Heard
from gemma4cli.transcription.pieces import Piece, cut
from gemma4cli.transcription.transcriber import limits_of

_ALONE, _TEXT, _TURN = "alone", "text before", "turn before"
_OPTIONS = GenerateOptions(temperature=0.0, max_tokens=256)
_PROMPT = prompts.transcription("English")
_SOURCE = Source(name="recording")


def asked(piece: Piece, prompt: str = _PROMPT) -> tuple[Message, AudioClip]:
    content = (TextPart(text=prompt), AudioPart(source=_SOURCE))
    clip = AudioClip(samples=piece.samples, name=_SOURCE.name)
    return Message(role="user", content=content), clip


def answer(model: LoadedModel, how: str, piece: Piece, before: tuple[Piece, str] | None) -> str:
    """What the model hears in ``piece``, with what it made of the piece ``before`` it."""
    message, clip = asked(piece)
    messages, clips = [message], [clip]
    if before is not None and how == _TURN:
        earlier, sound = asked(before[0])
        messages = [earlier, Message(role="assistant", content=before[1]), message]
        clips = [sound, clip]
    elif before is not None and how == _TEXT:
        told = f"{_PROMPT}\n* The speech before this segment: {before[1]}"
        messages = [asked(piece, told)[0]]
    inputs = model.processor.prepare(messages, clips)
    (finished,) = generate_batch(model, [inputs], _OPTIONS)
    return " ".join(finished.text.split())


def heard(model: LoadedModel, how: str, samples: Samples) -> str:
    """The whole recording, put together as the tool does it."""
    assembly = Assembly(0, None)
    before = None
    seconds = len(samples) / SAMPLE_RATE
    blocks = np.array_split(samples, max(1, int(seconds)))
    for piece in cut(blocks, limits_of(model, TranscribeOptions())):
        text = answer(model, how, piece, before)
        before = piece, text
        known = Heard(start=piece.start, end=piece.end, overlap=piece.overlap, text=text)
        list(assembly.add(known, (), continued=piece.continued))
    texts = [
        segment.text
        for event in assembly.finish(seconds)
        if isinstance(event, RecordingFinished)
        for segment in event.segments
    ]
    return " ".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", default="tiny")
    parser.add_argument("--seconds", type=float, default=300.0)
    arguments = parser.parse_args()
    model = gemma4cli.load(arguments.model)
    rows: list[dict[str, object]] = []
    for kind in ("silence", "noisy", "unbroken"):
        samples, sentences = joined(arguments.seconds, kind)
        right = [each.written for each in sentences]
        for how in (_ALONE, _TEXT, _TURN):
            rate = error_rate(right, [heard(model, how, samples)])
            rows.append(
                {
                    "kind": kind,
                    "context": how,
                    "words": len(" ".join(right).split()),
                    "wrong": round(rate, 4),
                }
            )
            tell(rows[-1])
    print(json.dumps({"context": rows}))


if __name__ == "__main__":
    main()
