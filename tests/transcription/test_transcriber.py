"""Pieces to segments: order, batches, second tries, journals, failures. The model is a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gemma4cli.engine import batch as engine_batch
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import MediaDecodeError, UnsupportedModalityError
from gemma4cli.events import Finished, FinishReason, Timings, Usage
from gemma4cli.options import GenerateOptions, TranscribeOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.transcript import (
    PieceDone,
    RecordingFailed,
    RecordingFinished,
    RecordingOpened,
    Segment,
    SegmentReady,
    TranscriptEvent,
)
from gemma4cli.transcription.cut import Limits, Piece
from gemma4cli.transcription.journal import Heard, Journal
from gemma4cli.transcription.transcriber import limits_of, transcribe

RATE = 16_000


def piece(start: float, seconds: float = 1.0, *, overlap: float = 0.0, cut: bool = False) -> Piece:
    samples = np.full(int(seconds * RATE), 0.01 * (1 + start), np.float32)
    return Piece(start=start, end=start + seconds, samples=samples, overlap=overlap, continued=cut)


@dataclass
class Tape:
    """A recording whose pieces are known; an error among them is raised in its turn."""

    items: Sequence[Piece | Exception]
    journal: Journal | None = None
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
class Model:
    """Answers in the order in which they are asked for."""

    answers: list[Finished]
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
        return taken


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    def script(*answers: Finished | str) -> Model:
        model = Model([a if isinstance(a, Finished) else answer(a) for a in answers])
        monkeypatch.setattr(engine_batch, "generate_batch", model.generate_batch)
        return model

    return script


def run(
    tiny: LoadedModel,
    *tapes: Tape,
    batch: int = 1,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
) -> list[TranscriptEvent]:
    return list(
        transcribe(
            tiny,
            tapes,
            options or TranscribeOptions(),
            generate or GenerateOptions(temperature=0.0),
            batch=batch,
        )
    )


def segments(events: Sequence[TranscriptEvent]) -> list[Segment]:
    return [event.segment for event in events if isinstance(event, SegmentReady)]


def texts(events: Sequence[TranscriptEvent]) -> list[str]:
    return [segment.text for segment in segments(events)]


def test_pieces_become_segments_at_their_times(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    says("one two", "three")
    events = run(tiny, Tape([piece(2.0), piece(7.5, 0.5)]))
    assert events[:1] == [RecordingOpened(recording=0, seconds=60.0)]
    assert segments(events) == [
        Segment(start=2.0, end=3.0, text="one two"),
        Segment(start=7.5, end=8.0, text="three"),
    ]
    assert [e.position for e in events if isinstance(e, PieceDone)] == [3.0, 8.0]
    *_, last = events
    assert isinstance(last, RecordingFinished)
    assert (last.seconds, last.pieces, last.segments) == (60.0, 2, tuple(segments(events)))
    assert last.usage == Usage(prompt_tokens=20, soft_tokens=10, completion_tokens=3)
    assert last.timings.decode == pytest.approx(0.6)


def test_a_recording_without_speech_asks_nothing(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    model = says()
    events = run(tiny, Tape([]))
    assert model.sizes == []
    assert isinstance(events[-1], RecordingFinished)
    assert events[-1].pieces == 0


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1]), (9, [5])])
def test_batches_reach_over_recordings(
    tiny: LoadedModel, says: Callable[..., Model], batch: int, sizes: list[int]
) -> None:
    model = says(*"abcde")
    first, second = Tape([piece(0), piece(2), piece(4)]), Tape([piece(0), piece(2)])
    events = run(tiny, first, second, batch=batch)
    assert model.sizes == sizes
    assert [(e.recording, e.segment.text) for e in events if isinstance(e, SegmentReady)] == [
        (0, "a"),
        (0, "b"),
        (0, "c"),
        (1, "d"),
        (1, "e"),
    ]
    assert [e.recording for e in events if isinstance(e, RecordingFinished)] == [0, 1]


def test_pieces_are_cut_only_as_far_as_a_batch_reaches(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    says(*"abcdef")
    tape = Tape([piece(2 * n) for n in range(6)])
    events = transcribe(
        tiny, [tape], TranscribeOptions(), GenerateOptions(temperature=0.0), batch=2
    )
    for event in events:
        if isinstance(event, SegmentReady):
            break
    assert tape.asked == 2


def test_a_piece_without_words_gives_no_segment(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    says("  \n", "so")
    events = run(tiny, Tape([piece(0), piece(2)]))
    assert texts(events) == ["so"]
    assert isinstance(events[-1], RecordingFinished)
    assert events[-1].pieces == 2


def test_words_of_an_overlap_are_told_once(tiny: LoadedModel, says: Callable[..., Model]) -> None:
    says("the dog runs fast", "runs fast to the garden", "and back")
    tape = Tape([piece(0, 10, cut=True), piece(9, 3, overlap=1.0), piece(20)])
    events = run(tiny, tape)
    assert texts(events) == ["the dog runs", "fast to the garden", "and back"]
    first, second, _ = segments(events)
    assert (first.end, second.start) == (9.5, 9.5)


def test_a_segment_behind_a_pause_is_told_at_once(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    says("a", "b", "c")
    events = run(tiny, Tape([piece(0), piece(2, cut=True), piece(3, overlap=0.5)]))
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        "RecordingOpened",
        *("SegmentReady", "PieceDone"),
        "PieceDone",
        *("SegmentReady", "SegmentReady", "PieceDone"),
        "RecordingFinished",
    ]


def test_an_endless_answer_is_asked_for_again(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    model = says(answer("so so so so", "repetition"), answer("so it is"))
    events = run(tiny, Tape([piece(0)]))
    assert segments(events) == [Segment(start=0.0, end=1.0, text="so it is")]
    assert [options.temperature for options in model.options] == [0.0, 0.4]
    assert model.options[1].seed == 0
    assert isinstance(events[-1], RecordingFinished)
    assert events[-1].usage.prompt_tokens == 20


@pytest.mark.parametrize(
    ("reason", "doubt"), [("repetition", "repetition"), ("length", "length"), ("context", "length")]
)
def test_what_stays_endless_is_marked(
    tiny: LoadedModel, says: Callable[..., Model], reason: FinishReason, doubt: str
) -> None:
    says(answer("the cat the cat the cat the", reason), answer("no no no no", reason))
    (segment,) = segments(run(tiny, Tape([piece(0)])))
    assert (segment.text, segment.doubt) == ("the cat", doubt)


def test_a_piece_may_say_so_much_and_no_more(tiny: LoadedModel, says: Callable[..., Model]) -> None:
    model = says("a", "b")
    run(tiny, Tape([piece(0, 1.0), piece(5, 10.0)]), batch=2)
    assert model.limits == [48, 192]
    model = says("a")
    run(tiny, Tape([piece(0, 10.0)]), generate=GenerateOptions(temperature=0.0, max_tokens=7))
    assert model.limits == [7]


def test_the_card_asks_for_a_transcript(tiny: LoadedModel, says: Callable[..., Model]) -> None:
    model = says("a", "b")
    run(tiny, Tape([piece(0)]))
    run(tiny, Tape([piece(0)]), options=TranscribeOptions(language="French", names="Aïda, Zoé"))
    assert "speech segment in its original language. Follow these" in model.prompts[0]
    assert "speech segment in French into French text." in model.prompts[1]
    assert model.prompts[1].count("Aïda, Zoé") == 1


def test_a_translation_is_taken_apart(tiny: LoadedModel, says: Callable[..., Model]) -> None:
    model = says("guten tag\nEnglish: good day", "hallo")
    options = TranscribeOptions(language="German", translate_to="English")
    events = run(tiny, Tape([piece(0), piece(2)]), options=options)
    assert segments(events) == [
        Segment(start=0.0, end=1.0, text="guten tag", translation="good day"),
        Segment(start=2.0, end=3.0, text="hallo"),
    ]
    assert "then translate it into English" in model.prompts[0]


def test_a_broken_recording_keeps_what_was_heard(
    tiny: LoadedModel, says: Callable[..., Model]
) -> None:
    says("a", "b")
    error = MediaDecodeError("x.wav", "broke off")
    events = run(tiny, Tape([piece(0), error]), Tape([piece(0)]), batch=8)
    assert texts(events) == ["a", "b"]
    failed = [event for event in events if isinstance(event, RecordingFailed)]
    assert failed == [RecordingFailed(recording=0, error=error)]
    assert events.index(failed[0]) > [type(e) for e in events].index(SegmentReady)
    assert [e.recording for e in events if isinstance(e, RecordingFinished)] == [1]


@pytest.mark.parametrize(
    "end", [(), (MediaDecodeError("tape", "is damaged"),)], ids=["ends", "fails"]
)
def test_what_waits_for_the_piece_behind_a_cut_is_kept_without_it(
    tiny: LoadedModel, says: Callable[..., Model], end: tuple[Exception, ...]
) -> None:
    says("the dog runs")
    events = run(tiny, Tape([piece(0, 10, cut=True), *end]))
    assert segments(events) == [Segment(start=0.0, end=10.0, text="the dog runs")]


def test_a_run_goes_on_where_it_was(
    tiny: LoadedModel, says: Callable[..., Model], tmp_path: Path
) -> None:
    tape = [piece(0, 10, cut=True), piece(9, 3, overlap=1.0), piece(20), piece(30)]
    said = ["the dog runs fast", "runs fast to the garden", "and back", "again"]
    says(*said)
    whole = segments(run(tiny, Tape(tape)))

    says(*said[:2])
    with Journal(tmp_path, {}) as journal:
        events = transcribe(
            tiny,
            [Tape(tape, journal)],
            TranscribeOptions(),
            GenerateOptions(temperature=0.0),
            batch=1,
        )
        for event in events:
            if isinstance(event, PieceDone) and event.pieces == 2:
                break
    model = says(*said[2:])
    with Journal(tmp_path, {}) as journal:
        events = run(tiny, Tape(tape, journal), batch=8)
        assert len(journal.path.read_text().splitlines()) == 5
    assert model.sizes == [2]
    assert events[0] == RecordingOpened(recording=0, seconds=60.0, resumed=12.0)
    assert segments(events) == whole


def test_a_journal_that_does_not_fit_is_left_behind(
    tiny: LoadedModel, says: Callable[..., Model], tmp_path: Path
) -> None:
    with Journal(tmp_path, {}) as journal:
        for start in (0.0, 2.0, 4.0):
            journal.add(Heard(start=start, end=start + 1, overlap=0.0, text="old"))
    says("new", "newer")
    with Journal(tmp_path, {}) as journal:
        events = run(tiny, Tape([piece(0), piece(2.5), piece(4)], journal))
    assert texts(events) == ["old", "new", "newer"]
    with Journal(tmp_path, {}) as journal:
        assert [each.text for each in journal.done] == ["old", "new", "newer"]


def test_a_model_that_does_not_hear_is_refused(
    parity_model: Callable[[str], LoadedModel],
) -> None:
    tape = Tape([piece(0)])
    with pytest.raises(UnsupportedModalityError):
        run(parity_model("31b"), tape)
    assert tape.asked == 0


def test_pieces_are_as_long_as_the_model_hears(tiny: LoadedModel) -> None:
    longest = tiny.processor.longest_clip
    assert longest is not None
    assert limits_of(tiny, TranscribeOptions()).longest == min(30.0, longest)
    assert limits_of(tiny, TranscribeOptions(longest_piece=5.0)).longest == 5.0
