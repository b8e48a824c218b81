"""Recordings whose pieces are known, and a model whose answers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Finished, FinishReason, Timings, Usage
from gemma4cli.options import GenerateOptions, TranscribeOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.transcript import Segment, SegmentReady, TranscriptEvent
from gemma4cli.transcription.cut import Limits, Piece
from gemma4cli.transcription.journal_folder import JournalFolder
from gemma4cli.transcription.transcriber import transcribe

GREEDY = GenerateOptions(temperature=0.0)


def piece(start: float, seconds: float = 1.0, *, overlap: float = 0.0, cut: bool = False) -> Piece:
    samples = np.full(int(seconds * SAMPLE_RATE), 0.01 * (1 + start), np.float32)
    return Piece(start=start, end=start + seconds, samples=samples, overlap=overlap, continued=cut)


@dataclass
class Tape:
    """A minute of sound with known pieces; an exception among them is raised in its turn."""

    items: Sequence[Piece | Exception]
    file: Path | None = None
    live: bool = False
    seconds: float | None = 60.0
    asked: int = 0

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            self.asked += 1
            yield item

    def position(self) -> float:
        return 60.0


def answer(text: str, reason: FinishReason = "stop") -> Finished:
    return Finished(
        reason=reason,
        text=text,
        thoughts="",
        token_ids=tuple(range(len(text.split()))),
        usage=Usage(prompt_tokens=10, soft_tokens=5, completion_tokens=len(text.split())),
        timings=Timings(encode=0.1, prefill=0.2, decode=0.3),
    )


@dataclass
class Script:
    """Replaces ``generate_batch``: gives its answers in order, and records the requests.

    An exception among the answers is raised in its turn.
    """

    answers: list[Finished | Exception]
    sizes: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    options: list[GenerateOptions] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def generate_batch(
        self,
        model: LoadedModel,
        inputs: Sequence[ModelInputs],
        options: GenerateOptions,
        *,
        max_tokens: Sequence[int],
    ) -> list[Finished]:
        self.sizes.append(len(inputs))
        self.prompts += [model.processor.tokenizer.decode(list(each.ids)) for each in inputs]
        self.options.append(options)
        self.limits += max_tokens
        taken, self.answers = self.answers[: len(inputs)], self.answers[len(inputs) :]
        for each in taken:
            if isinstance(each, Exception):
                raise each
        return [each for each in taken if isinstance(each, Finished)]


Says = Callable[..., Script]
"""The type of the fixture ``says``: answers, as texts or events, to the script that gives them."""


def stream(
    model: LoadedModel,
    *tapes: Tape,
    batch: int = 1,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions = GREEDY,
    journals: JournalFolder | None = None,
) -> Iterator[TranscriptEvent]:
    options = options or TranscribeOptions()
    return transcribe(model, tapes, options, generate, batch=batch, journals=journals)


def segments(events: Sequence[TranscriptEvent]) -> list[Segment]:
    return [event.segment for event in events if isinstance(event, SegmentReady)]


def texts(events: Sequence[TranscriptEvent]) -> list[str]:
    return [segment.text for segment in segments(events)]
