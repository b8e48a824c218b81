"""Pieces to segments: order, batches, second tries, failures. The model's answers are scripted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scripted import Says, Tape, answer, piece, segments, stream, texts

from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import MediaDecodeError, UnsupportedModalityError
from gemma4cli.events import FinishReason, Usage
from gemma4cli.options import GenerateOptions, TranscribeOptions
from gemma4cli.transcript import (
    PieceDone,
    RecordingFailed,
    RecordingFinished,
    RecordingOpened,
    Segment,
    SegmentReady,
)
from gemma4cli.transcription.transcriber import limits_of


def test_pieces_become_segments_with_their_times(tiny: LoadedModel, says: Says) -> None:
    says("one two", "three")
    events = list(stream(tiny, Tape([piece(2.0), piece(7.5, 0.5)])))
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


def test_a_recording_without_speech_never_runs_the_model(tiny: LoadedModel, says: Says) -> None:
    script = says()
    *_, last = stream(tiny, Tape([]))
    assert script.sizes == []
    assert isinstance(last, RecordingFinished)
    assert last.pieces == 0


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1]), (9, [5])])
def test_a_batch_may_hold_pieces_of_several_recordings(
    tiny: LoadedModel, says: Says, batch: int, sizes: list[int]
) -> None:
    script = says(*"abcde")
    first, second = Tape([piece(0), piece(2), piece(4)]), Tape([piece(0), piece(2)])
    events = list(stream(tiny, first, second, batch=batch))
    assert script.sizes == sizes
    ready = [(e.recording, e.segment.text) for e in events if isinstance(e, SegmentReady)]
    assert ready == [(0, "a"), (0, "b"), (0, "c"), (1, "d"), (1, "e")]
    assert [e.recording for e in events if isinstance(e, RecordingFinished)] == [0, 1]


def test_recordings_are_cut_only_as_far_as_a_batch_needs(tiny: LoadedModel, says: Says) -> None:
    says(*"abcdef")
    tape = Tape([piece(2 * n) for n in range(6)])
    for event in stream(tiny, tape, batch=2):
        if isinstance(event, SegmentReady):
            break
    assert tape.asked == 2


def test_a_piece_without_words_is_counted_but_gives_no_segment(
    tiny: LoadedModel, says: Says
) -> None:
    says("  \n", "so")
    events = list(stream(tiny, Tape([piece(0), piece(2)])))
    assert texts(events) == ["so"]
    assert isinstance(events[-1], RecordingFinished)
    assert events[-1].pieces == 2


def test_words_of_an_overlap_appear_once(tiny: LoadedModel, says: Says) -> None:
    says("the dog runs fast", "runs fast to the garden", "and back")
    tape = Tape([piece(0, 10, cut=True), piece(9, 3, overlap=1.0), piece(20)])
    events = list(stream(tiny, tape))
    assert texts(events) == ["the dog runs", "fast to the garden", "and back"]
    first, second, _ = segments(events)
    assert (first.end, second.start) == (9.5, 9.5)


def test_a_segment_before_a_pause_is_ready_at_once(tiny: LoadedModel, says: Says) -> None:
    says("a", "b", "c")
    events = stream(tiny, Tape([piece(0), piece(2, cut=True), piece(3, overlap=0.5)]))
    assert [type(event).__name__ for event in events] == [
        "RecordingOpened",
        *("SegmentReady", "PieceDone"),
        "PieceDone",
        *("SegmentReady", "SegmentReady", "PieceDone"),
        "RecordingFinished",
    ]


def test_an_endless_answer_is_retried_at_a_higher_temperature(
    tiny: LoadedModel, says: Says
) -> None:
    script = says(answer("so so so so", "repetition"), answer("so it is"))
    events = list(stream(tiny, Tape([piece(0)])))
    assert segments(events) == [Segment(start=0.0, end=1.0, text="so it is")]
    assert [options.temperature for options in script.options] == [0.0, 0.4]
    assert script.options[1].seed == 0
    assert isinstance(events[-1], RecordingFinished)
    assert events[-1].usage.prompt_tokens == 20


@pytest.mark.parametrize(
    ("reason", "doubt"), [("repetition", "repetition"), ("length", "length"), ("context", "length")]
)
def test_a_segment_is_marked_as_doubtful_if_the_second_try_is_endless_too(
    tiny: LoadedModel, says: Says, reason: FinishReason, doubt: str
) -> None:
    says(answer("the cat the cat the cat the", reason), answer("no no no no", reason))
    (segment,) = segments(list(stream(tiny, Tape([piece(0)]))))
    assert (segment.text, segment.doubt) == ("the cat", doubt)


def test_an_answer_has_as_many_tokens_as_anyone_can_speak(tiny: LoadedModel, says: Says) -> None:
    script = says("a", "b")
    list(stream(tiny, Tape([piece(0, 1.0), piece(5, 10.0)]), batch=2))
    assert script.limits == [48, 192]
    script = says("a")
    options = GenerateOptions(temperature=0.0, max_tokens=7)
    list(stream(tiny, Tape([piece(0, 10.0)]), generate=options))
    assert script.limits == [7]


def test_the_prompt_is_the_model_cards(tiny: LoadedModel, says: Says) -> None:
    script = says("a", "b")
    list(stream(tiny, Tape([piece(0)])))
    options = TranscribeOptions(language="French", names="Aïda, Zoé")
    list(stream(tiny, Tape([piece(0)]), options=options))
    assert "speech segment in its original language. Follow these" in script.prompts[0]
    assert "speech segment in French into French text." in script.prompts[1]
    assert script.prompts[1].count("Aïda, Zoé") == 1


def test_a_translation_is_separated_from_the_transcript(tiny: LoadedModel, says: Says) -> None:
    script = says("guten tag\nEnglish: good day", "hallo")
    options = TranscribeOptions(language="German", translate_to="English")
    events = list(stream(tiny, Tape([piece(0), piece(2)]), options=options))
    assert segments(events) == [
        Segment(start=0.0, end=1.0, text="guten tag", translation="good day"),
        Segment(start=2.0, end=3.0, text="hallo"),
    ]
    assert "then translate it into English" in script.prompts[0]


def test_a_damaged_recording_keeps_its_segments_and_does_not_stop_the_run(
    tiny: LoadedModel, says: Says
) -> None:
    says("a", "b")
    error = MediaDecodeError("x.wav", "broke off")
    events = list(stream(tiny, Tape([piece(0), error]), Tape([piece(0)]), batch=8))
    assert texts(events) == ["a", "b"]
    failed = [event for event in events if isinstance(event, RecordingFailed)]
    assert failed == [RecordingFailed(recording=0, error=error)]
    assert events.index(failed[0]) > [type(e) for e in events].index(SegmentReady)
    assert [e.recording for e in events if isinstance(e, RecordingFinished)] == [1]


@pytest.mark.parametrize(
    "end", [(), (MediaDecodeError("tape", "is damaged"),)], ids=["ends", "fails"]
)
def test_text_held_for_the_piece_after_a_cut_is_kept_if_none_follows(
    tiny: LoadedModel, says: Says, end: tuple[MediaDecodeError, ...]
) -> None:
    says("the dog runs")
    events = list(stream(tiny, Tape([piece(0, 10, cut=True), *end])))
    assert segments(events) == [Segment(start=0.0, end=10.0, text="the dog runs")]


def test_a_model_without_an_audio_tower_is_refused(
    parity_model: Callable[[str], LoadedModel],
) -> None:
    tape = Tape([piece(0)])
    with pytest.raises(UnsupportedModalityError):
        list(stream(parity_model("31b"), tape))
    assert tape.asked == 0


def test_pieces_are_no_longer_than_the_model_and_the_options_allow(tiny: LoadedModel) -> None:
    longest = tiny.processor.longest_clip
    assert longest is not None
    assert limits_of(tiny, TranscribeOptions()).longest == min(30.0, longest)
    assert limits_of(tiny, TranscribeOptions(longest_piece=5.0)).longest == 5.0
