"""Which audio track of several is used, and what is said about the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from media_makers import numbered, write_video
from support.sound_files import Track, write_tracks

from gemma4cli.errors import NoAudioTrackError, TrackNotFoundError
from gemma4cli.media.pictures import video
from gemma4cli.media.sound import audio
from gemma4cli.media.sound.tracks import TrackChoice, describe_choice, sound_tracks
from gemma4cli.messages import Source


def track(level: int, **about: str | int) -> Track:
    samples = np.full((1, 8_000), level, np.int16)
    return Track(
        samples=samples,
        language=str(about.get("language", "")),
        title=str(about.get("title", "")),
        disposition=int(about.get("disposition", 0)),
    )


def used(path: Path, wanted: int | str | None = None, hint: str | None = None) -> int:
    """The number of the track whose sound is loaded: each has a level of its number."""
    choice = TrackChoice(wanted=wanted, hint=hint)
    (tracks, *_), sound = sound_tracks(Source.of(path), choice), audio.load_audio
    level = round(sound(Source.of(path), choice).samples[0] * 32768 / 100)
    assert tracks.number == level
    return level


GERMAN, ENGLISH = {"language": "ger"}, {"language": "eng"}
DEFAULT = {"disposition": int(Disposition.default)}


@pytest.mark.parametrize(
    ("tracks", "wanted", "hint", "expected"),
    [
        pytest.param([{}, {}], None, None, 1, id="the first of equals"),
        pytest.param([{}, DEFAULT], None, None, 2, id="the default"),
        pytest.param([GERMAN, ENGLISH], None, "English", 2, id="the spoken language"),
        pytest.param([GERMAN, {}], None, "English", 2, id="an unknown language over another"),
        pytest.param([GERMAN, ENGLISH], None, "French", 1, id="no track in that language"),
        pytest.param([{"title": "Director's Commentary"}, {}], None, None, 2, id="commentary"),
        pytest.param(
            [{"title": "English (Audio Description)", "language": "eng"}, ENGLISH],
            None,
            None,
            2,
            id="audio description",
        ),
        pytest.param(
            [{"title": "Commentary"}, {"title": "Hörfilm"}], None, None, 1, id="only such"
        ),
        pytest.param(
            [{"disposition": int(Disposition.comment)}, {}], None, None, 2, id="commentary flag"
        ),
        pytest.param(
            [{"disposition": int(Disposition.visual_impaired)}, {}], None, None, 2, id="its flag"
        ),
        pytest.param([GERMAN, ENGLISH], 2, None, 2, id="a number"),
        pytest.param([GERMAN, ENGLISH], "2", None, 2, id="a number as text"),
        pytest.param([{"title": "Commentary"}, {}], 1, None, 1, id="commentary by number"),
        *(
            pytest.param([ENGLISH, GERMAN], name, None, 2, id=f"language {name}")
            for name in ("de", "ger", "deu", "German", "german", "de-AT", "DE")
        ),
        pytest.param([{}, GERMAN], "de", "English", 2, id="the choice over the hint"),
    ],
)
def test_the_track_that_is_used(
    tmp_path: Path,
    tracks: list[dict[str, str | int]],
    wanted: int | str | None,
    hint: str | None,
    expected: int,
) -> None:
    made = [track(100 * number, **about) for number, about in enumerate(tracks, 1)]
    assert used(write_tracks(tmp_path / "a.mka", *made), wanted, hint) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (3, 'no audio track 3: it has 1 (German), 2 (English, "Mic"); choose one with --track'),
        ("fr", "no audio track fr: it has 1 (German)"),
        ("9" * 5000, "no audio track 99"),
    ],
)
def test_a_track_that_is_not_there_is_an_error_that_lists_those_that_are(
    tmp_path: Path, wanted: int | str, message: str
) -> None:
    tracks = track(100, language="ger"), track(200, language="eng", title="Mic")
    source = Source.of(write_tracks(tmp_path / "a.mka", *tracks))
    for load in (audio.load_audio, audio.audio_seconds, sound_tracks):
        with pytest.raises(TrackNotFoundError) as caught:
            load(source, TrackChoice(wanted=wanted))
        assert message in str(caught.value)


def test_a_file_without_sound_has_no_track_to_choose(tmp_path: Path) -> None:
    source = Source.of(write_video(tmp_path / "a.mp4", [numbered(0)] * 3))
    with pytest.raises(NoAudioTrackError):
        sound_tracks(source)
    with pytest.raises(TrackNotFoundError, match="has no audio track 1: it has none"):
        sound_tracks(source, TrackChoice(wanted=1))


def test_one_track_needs_no_words(tmp_path: Path) -> None:
    tracks = sound_tracks(Source.of(write_tracks(tmp_path / "a.mka", track(100))))
    assert describe_choice("transcribing", "a.mka", tracks) is None


def test_several_tracks_are_named(tmp_path: Path) -> None:
    made = (
        track(100, language="ger"),
        track(200, language="eng", title="Microphone"),
        track(300),
    )
    source = Source.of(write_tracks(tmp_path / "a.mka", *made))
    tracks = sound_tracks(source, TrackChoice(hint="English"))
    assert describe_choice("transcribing", "a.mka", tracks) == (
        'a.mka: transcribing audio track 2 of 3 (English, "Microphone"); '
        "others: 1 (German), 3; choose with --track"
    )


def test_a_clip_has_the_sound_of_the_chosen_track(tmp_path: Path) -> None:
    tracks = track(100), track(200, language="eng")
    source = Source.of(write_tracks(tmp_path / "a.mkv", *tracks, picture=0))
    choice = TrackChoice(wanted="en")
    sound = video.load_sound(source, video.probe_video(source, choice), choice=choice)
    assert sound is not None
    assert sound.samples[100] == pytest.approx(200 / 32768)
    with pytest.raises(TrackNotFoundError):
        video.probe_video(source, TrackChoice(wanted=3))
