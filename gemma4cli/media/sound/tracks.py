"""The audio tracks of a container, and the choice of one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from ...errors import MediaDecodeError, NoAudioTrackError, TrackNotFoundError
from ...languages import language_of_tag, tags_match
from ...messages import Source
from ..containers import open_container

_ASIDE_FLAGS = {
    Disposition.comment: "commentary",
    Disposition.hearing_impaired: "for the hearing impaired",
    Disposition.visual_impaired: "for the visually impaired",
    Disposition.clean_effects: "without speech",
    Disposition.karaoke: "karaoke",
    Disposition.descriptions: "described",
}
"""Flags of tracks that are not the recording itself, in words."""
_ASIDE_TITLE = re.compile(
    r"comment(ary|aire)|comentario|kommentar|audio[ -]?desc|descri(ptive|bed)|h[öo]rfilm"
    r"|audiodeskription|(visual|vision|hearing)(ly)?[ -]impaired|\b(ad|dvs|m&e)\b|karaoke",
    re.IGNORECASE,
)
_LONGEST_TITLE = 60
_MOST_LISTED = 20
_NO_TITLES = re.compile(r"handler|core media|gpac|^mainconcept|^iso media", re.IGNORECASE)
"""What programs write where a title could be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackChoice:
    """Which audio track of a container to use.

    ``wanted`` is a number from 1 or a language (a name, an ISO 639 code or a BCP 47 tag); None
    leaves the choice to the file. ``hint`` is the language that is spoken: without ``wanted``, a
    track in that language comes first.
    """

    wanted: int | str | None = None
    hint: str | None = None


ANY_TRACK = TrackChoice()


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundTrack:
    """One audio track: its number from 1, and what the container says about it.

    ``aside`` is a commentary, an audio description or the like, which is not the recording itself;
    ``flag`` says so in words if a flag of the container does.
    """

    number: int
    language: str | None
    title: str | None
    is_default: bool
    aside: bool
    flag: str | None = None

    def __str__(self) -> str:
        """For messages: '2 (English, "Microphone")'."""
        known = [] if self.language is None else [language_of_tag(self.language)]
        if self.title is not None:
            known.append(f'"{self.title}"')
        if self.flag is not None:
            known.append(self.flag)
        return f"{self.number} ({', '.join(known)})" if known else str(self.number)


def sound_tracks(source: Source, choice: TrackChoice = ANY_TRACK) -> tuple[SoundTrack, ...]:
    """The audio tracks that can be decoded, the one to use first, then in order of preference.

    Raises NoAudioTrackError, TrackNotFoundError, and the errors of ``open_container``.
    """
    with open_container(source) as container:
        return tuple(track for track, _ in _ranked(container, source, choice))


def audio_stream(
    container: InputContainer, source: Source, choice: TrackChoice = ANY_TRACK
) -> AudioStream:
    """The audio track to use, in the order of ``sound_tracks``. Raises its errors."""
    return _ranked(container, source, choice)[0][1]


def describe_choice(verb: str, name: str, tracks: Sequence[SoundTrack]) -> str | None:
    """A line about the first of several tracks and the others; None for a single track.

    'talk.mkv: transcribing audio track 2 of 3 (English); others: 1 (German), 3; ...'
    """
    if len(tracks) < 2:
        return None
    used, *others = tracks
    number, _, rest = str(used).partition(" ")
    rest = f" {rest}" if rest else ""
    others.sort(key=lambda each: each.number)
    listed = ", ".join(map(str, others[:_MOST_LISTED]))
    if len(others) > _MOST_LISTED:
        listed += f" and {len(others) - _MOST_LISTED} more"
    return (
        f"{name}: {verb} audio track {number} of {len(tracks)}{rest}; others: {listed}; "
        "choose with --track"
    )


def _ranked(
    container: InputContainer, source: Source, choice: TrackChoice
) -> list[tuple[SoundTrack, AudioStream]]:
    """The tracks with a known codec and their streams, the one to use first."""
    streams = list(container.streams.audio)
    described = [(_described(number, each), each) for number, each in enumerate(streams, 1)]
    if choice.wanted is not None:
        described = _wanted(source, described, choice.wanted)
    elif not streams:
        hint = ": use g4 video for its pictures" if container.streams.video else ""
        raise NoAudioTrackError(source.name, f"has no audio track{hint}")
    known = [pair for pair in described if pair[1].codec_context is not None]
    if not known:
        raise MediaDecodeError(source.name, "its audio track has an unknown codec")
    # In a transport stream the tracks that libav found last may begin late.
    best = None if container.format.name == "mpegts" else container.streams.best("audio")

    def rank(pair: tuple[SoundTrack, AudioStream]) -> tuple[int, bool, bool, bool, int]:
        track, stream = pair
        return (
            _mismatch(track, choice.hint),
            track.aside,
            not track.is_default,
            stream is not best,
            track.number,
        )

    return sorted(known, key=rank)


_MOST_DIGITS, _LONGEST_SHOWN = 9, 40
"""Digits of a track's number; characters of what was asked for in an error."""


def _wanted(
    source: Source, tracks: list[tuple[SoundTrack, AudioStream]], wanted: int | str
) -> list[tuple[SoundTrack, AudioStream]]:
    if isinstance(wanted, int) or (wanted.isdecimal() and len(wanted) <= _MOST_DIGITS):
        found = [pair for pair in tracks if pair[0].number == int(wanted)]
    else:
        found = [pair for pair in tracks if tags_match(pair[0].language, wanted)]
    if not found:
        known = ", ".join(str(track) for track, _ in tracks)
        raise TrackNotFoundError(source.name, str(wanted)[:_LONGEST_SHOWN], known)
    return found


def _mismatch(track: SoundTrack, hint: str | None) -> int:
    """0 for the language of the hint, 1 for an unknown one, 2 for another."""
    if hint is None or tags_match(track.language, hint):
        return 0
    return 1 if track.language is None else 2


def _short(title: str) -> str:
    line = " ".join(title.split())
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1]}…"


def _described(number: int, stream: AudioStream) -> SoundTrack:
    tags = {key.lower(): value.strip() for key, value in stream.metadata.items()}
    title = tags.get("title") or tags.get("name") or tags.get("handler_name")
    if not title or _NO_TITLES.search(title):
        title = None
    language = tags.get("language")
    if language is not None and language.lower() in ("", "und", "unk", "mul", "zxx", "mis", "qaa"):
        language = None
    flag = next((word for bit, word in _ASIDE_FLAGS.items() if stream.disposition & bit), None)
    return SoundTrack(
        number=number,
        language=language,
        title=None if title is None else _short(title),
        is_default=bool(stream.disposition & Disposition.default),
        aside=flag is not None or (title is not None and _ASIDE_TITLE.search(title) is not None),
        flag=flag,
    )
