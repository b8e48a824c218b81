"""Which sound of a recording is transcribed, and at which times: tracks, channels, parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scripted import Says
from support.samples import sample
from support.sound_files import Track, write_tracks

import gemma4cli
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import MediaError, OptionError
from gemma4cli.events import Notice
from gemma4cli.media.sound.audio import load_audio
from gemma4cli.messages import Source
from gemma4cli.options import MediaOptions, TranscribeOptions
from gemma4cli.transcript import (
    PieceDone,
    RecordingFailed,
    RecordingFinished,
    SegmentReady,
    TranscriptEvent,
)
from gemma4cli.transcription.assemble import Assembly
from gemma4cli.transcription.journal import PieceText


def speech(number: int) -> npt.NDArray[np.int16]:
    samples = load_audio(Source.of(sample(f"speech0{number}.wav"))).samples
    return np.round(samples * 32767).astype(np.int16)


FIRST, SECOND = speech(4), speech(7)
SILENCE = np.zeros(32_000, np.int16)


def pause(seconds: float) -> npt.NDArray[np.int16]:
    return np.zeros(round(seconds * 16_000), np.int16)


def call(path: Path, *channels: Sequence[npt.NDArray[np.int16]]) -> Path:
    """A file with what is said on each channel."""
    lanes = [np.concatenate(parts) for parts in channels]
    samples = np.zeros((len(lanes), max(map(len, lanes))), np.int16)
    for lane, row in zip(lanes, samples, strict=True):
        row[: len(lane)] = lane
    return write_tracks(path, Track(samples=samples, layout="stereo"))


def events_of(
    model: LoadedModel, path: Path, journal: Path | None = None, **options: str | int
) -> list[TranscriptEvent]:
    asked = TranscribeOptions(batch=1, **options)  # type: ignore[arg-type]
    return list(gemma4cli.stream_transcribe(model, [path], options=asked, journal=journal))


def notices(events: Sequence[TranscriptEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def said(events: Sequence[TranscriptEvent]) -> list[str]:
    return [event.segment.text for event in events if isinstance(event, SegmentReady)]


def test_times_count_from_the_start_of_the_container(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one", "two")
    samples = np.concatenate([FIRST, pause(5.0), SECOND])[None]
    path = write_tracks(tmp_path / "a.mkv", Track(samples=samples, at=101.5), picture=100)
    one, two = gemma4cli.transcribe(tiny, path)
    assert one.start == pytest.approx(1.5, abs=0.1)
    assert two.start == pytest.approx(1.5 + len(FIRST) / 16_000 + 5.0, abs=0.4)


def test_a_long_pause_in_the_time_stamps_moves_what_follows(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one", "two")
    samples = np.concatenate([FIRST, pause(1.0), SECOND])[None]
    after = (len(FIRST) + 8_000) / 16_000
    track = Track(samples=samples, pause_after=after, pause=7200.0)
    one, two = gemma4cli.transcribe(tiny, write_tracks(tmp_path / "a.mka", track))
    assert one.end < after + 0.5
    assert two.start == pytest.approx(7200 + after, abs=0.6)


# Tracks


def two_tracks(path: Path) -> Path:
    return write_tracks(
        path,
        Track(samples=SILENCE[None], language="ger"),
        Track(samples=FIRST[None], language="eng", title="Microphone"),
    )


def test_another_track_is_transcribed_if_the_first_has_no_speech(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one")
    path = two_tracks(tmp_path / "a.mka")
    events = events_of(tiny, path)
    assert said(events) == ["one"]
    assert notices(events) == [
        f'{path}: transcribing audio track 1 of 2 (German); others: 2 (English, "Microphone"); '
        "choose with --track",
        f"{path}: audio track 1 (German): no speech; transcribing audio track 2 "
        '(English, "Microphone")',
    ]
    ended = events[-1]
    assert isinstance(ended, RecordingFinished)
    assert ended.seconds == pytest.approx(2.0, abs=0.1)


def test_speech_is_searched_in_sixteen_tracks_at_most(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says()
    silent = Track(samples=SILENCE[None, :8000])
    path = write_tracks(tmp_path / "a.mka", *[silent] * 30)
    first, *others = notices(events_of(tiny, path))
    listed = ", ".join(map(str, range(2, 22)))
    assert first.endswith(f"others: {listed} and 9 more; choose with --track")
    assert len(others) == 15
    assert others[-1].endswith("audio track 15: no speech; transcribing audio track 16")


def test_the_language_that_is_spoken_chooses_the_track(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one")
    events = events_of(tiny, two_tracks(tmp_path / "a.mka"), language="English")
    assert said(events) == ["one"]
    assert len(notices(events)) == 1


def test_a_chosen_track_is_not_exchanged_and_needs_no_words(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says()
    events = events_of(tiny, two_tracks(tmp_path / "a.mka"), track=1)
    assert (said(events), notices(events)) == ([], [])


def test_a_track_that_is_not_there_fails_the_recording(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says()
    (*_, failed) = events_of(tiny, two_tracks(tmp_path / "a.mka"), track="fr")
    assert isinstance(failed, RecordingFailed)
    assert isinstance(failed.error, MediaError)
    assert "it has 1 (German), 2 (English" in str(failed.error)


def test_tracks_without_speech_end_with_nothing(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says()
    tracks = [Track(samples=SILENCE[None]) for _ in range(2)]
    events = events_of(tiny, write_tracks(tmp_path / "a.mka", *tracks))
    assert isinstance(events[-1], RecordingFinished)
    assert events[-1].segments == ()


@pytest.mark.parametrize("track", [0, -1, "", "0"])
def test_a_track_is_a_number_from_1_or_a_language(track: int | str) -> None:
    with pytest.raises(OptionError, match="audio track"):
        TranscribeOptions(track=track)
    with pytest.raises(OptionError, match="audio track"):
        MediaOptions(track=track)


# Channels


def test_each_channel_is_transcribed_for_itself_in_the_order_of_time(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one", "two", "three", "four")
    path = call(
        tmp_path / "a.mka",
        [FIRST, pause(6.0), FIRST],
        [pause(3.0), SECOND, pause(6.0), SECOND],
    )
    segments = gemma4cli.transcribe(tiny, path, options=TranscribeOptions(channels="separate"))
    assert [(each.channel, each.text) for each in segments] == [
        (1, "one"),
        (2, "two"),
        (1, "three"),
        (2, "four"),
    ]
    assert [each.start for each in segments] == sorted(each.start for each in segments)


def test_segments_of_channels_are_given_in_order_while_they_come(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    """The first channel speaks without a pause; the other one puts in a word now and then."""
    says(*(f"text {number}" for number in range(40)))
    long = np.concatenate([FIRST, SECOND] * 12)
    words = np.concatenate([pause(4.0), FIRST, pause(9.0), FIRST, pause(9.0), FIRST])
    events = events_of(
        tiny, call(tmp_path / "a.mka", [long], [words]), channels="separate", longest_piece=5
    )
    ready = [event.segment for event in events if isinstance(event, SegmentReady)]
    assert {each.channel for each in ready} == {1, 2}
    assert [each.start for each in ready] == sorted(each.start for each in ready)
    (ended,) = [event for event in events if isinstance(event, RecordingFinished)]
    assert ended.segments == tuple(ready)


def test_a_segment_waits_for_an_earlier_one_of_another_channel() -> None:
    """The first channel's piece ends at a forced cut: its text is final with the next piece."""

    def text(start: float, end: float, words: str, channel: int, overlap: float = 0.0) -> PieceText:
        return PieceText(start=start, end=end, text=words, channel=channel, overlap=overlap)

    assembly = Assembly(0, None)
    steps = [
        list(assembly.add(text(0, 6, "one two three", 1), (), continued=True)),
        list(assembly.add(text(2, 3, "hello", 2), (), continued=False)),
        list(assembly.add(text(4, 9, "three four", 1, overlap=2.0), (), continued=False)),
    ]
    assert [said(step) for step in steps] == [[], [], ["one two three", "hello", "four"]]


def test_a_picked_channel_has_no_label(tiny: LoadedModel, says: Says, tmp_path: Path) -> None:
    says("two")
    path = call(tmp_path / "a.mka", [FIRST], [pause(4.0), SECOND])
    (segment,) = gemma4cli.transcribe(tiny, path, options=TranscribeOptions(channels=2))
    assert (segment.channel, segment.label) == (None, "")
    assert segment.start > 3.5


def test_one_channel_kept_apart_is_an_ordinary_recording(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one")
    path = write_tracks(tmp_path / "a.mka", Track(samples=FIRST[None]))
    (segment,) = gemma4cli.transcribe(tiny, path, options=TranscribeOptions(channels="separate"))
    assert segment.channel is None


def test_a_run_over_channels_resumes_where_it_was_interrupted(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    path = call(
        tmp_path / "a.mka", [FIRST, pause(6.0), FIRST], [pause(3.0), SECOND, pause(6.0), SECOND]
    )
    options = TranscribeOptions(channels="separate", batch=1)
    journal = tmp_path / "journals"
    says("one", "two")
    running = gemma4cli.stream_transcribe(tiny, [path], options=options, journal=journal)
    done = 0
    for event in running:
        done += isinstance(event, PieceDone)
        if done == 2:
            break
    running.close()
    script = says("three", "four")
    events = list(gemma4cli.stream_transcribe(tiny, [path], options=options, journal=journal))
    assert said(events) == ["one", "two", "three", "four"]
    assert script.sizes == [1, 1]


def test_another_track_or_channel_is_another_job(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    path = call(tmp_path / "a.mka", [FIRST], [SECOND])
    journal = tmp_path / "journals"
    says("one")
    running = gemma4cli.stream_transcribe(
        tiny, [path], options=TranscribeOptions(channels=1), journal=journal
    )
    for event in running:
        if isinstance(event, PieceDone):
            break
    running.close()
    says("two")
    assert said(events_of(tiny, path, journal, channels=2)) == ["two"]


@pytest.mark.parametrize("channels", [0, -1, "both"])
def test_channels_are_mixed_apart_or_one(channels: int | str) -> None:
    with pytest.raises(OptionError, match="channels must be mix, separate or a number from 1"):
        TranscribeOptions(channels=channels)  # type: ignore[arg-type]
