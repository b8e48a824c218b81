"""Subtitle cues: where texts are cut, and when cues are shown."""

# ruff: noqa: RUF001  wide punctuation is meant

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.errors import OptionError
from gemma4cli.subtitles.cues import Cue, CueStyle, make_cues
from gemma4cli.subtitles.line_breaks import columns
from gemma4cli.transcript import Segment

DEFAULT = CueStyle()


def spoken(text: str) -> Segment:
    """A segment spoken at 14 columns per second, which is neither fast nor slow."""
    return Segment(start=0, end=columns(text) / 14, text=text)


def lines(text: str, style: CueStyle = DEFAULT) -> list[tuple[str, ...]]:
    return [cue.lines for cue in make_cues([spoken(text)], style)]


def cut(text: str) -> list[str]:
    """The cues of a text, each one line of 20 columns."""
    style = CueStyle(max_line_width=20, max_line_count=1)
    return [line for cue in lines(text, style) for line in cue]


def times(*segments: Segment, style: CueStyle = DEFAULT) -> list[tuple[float, float]]:
    return [(cue.start, cue.end) for cue in make_cues(segments, style)]


# Where texts are cut


def test_a_text_that_fits_is_one_cue() -> None:
    text = "Hello there. How are you? It is late."
    assert make_cues([Segment(start=1, end=4, text=text)], DEFAULT) == [
        Cue(start=1, end=4, lines=(text,))
    ]


def test_cues_end_with_sentences_rather_than_clauses() -> None:
    assert cut("We go. Then, it got dark") == ["We go.", "Then, it got dark"]


def test_cues_end_with_clauses_rather_than_words() -> None:
    assert cut("We go, then it got darker") == ["We go,", "then it got darker"]


def test_between_words_cues_are_even() -> None:
    assert cut("we all went home and then it rained") == ["we all went home", "and then it rained"]


def test_a_period_inside_a_sentence_does_not_end_it() -> None:
    assert cut("Dr. No came by to see Mr. Smith") == ["Dr. No came by", "to see Mr. Smith"]
    assert cut("We paid 3.5 and then 10,000 more") == ["We paid 3.5 and", "then 10,000 more"]


def test_only_words_longer_than_a_line_are_cut() -> None:
    assert cut("ab cd abcdefghijklmnopqrst") == ["ab cd", "abcdefghijklmnopqrst"]
    assert cut("abcdefghijklmnopqrstuvwxyz ab") == ["abcdefghijklmn", "opqrstuvwxyz ab"]


def test_lines_are_even() -> None:
    assert lines("one two three four five six seven eight nine") == [
        ("one two three four five", "six seven eight nine")
    ]


def test_lines_end_with_clauses() -> None:
    assert lines("We had been there, so we knew which way it was") == [
        ("We had been there,", "so we knew which way it was")
    ]


def test_there_are_no_more_lines_than_needed() -> None:
    style = CueStyle(max_line_width=20, max_line_count=9)
    assert lines("One. Two. Three.", style) == [("One. Two. Three.",)]
    assert len(*lines("One. Two. Three. Four five six", style)) == 2


def test_wide_characters_take_two_columns() -> None:
    assert cut("今天天气很好我们去玩") == ["今天天气很好我们去玩"]
    assert cut("今天天气很好我们去玩吧") == ["今天天气很", "好我们去玩吧"]


def test_wide_text_is_cut_at_its_punctuation() -> None:
    assert cut("天气很好。我们，去公园玩吧") == ["天气很好。", "我们，去公园玩吧"]
    assert cut("我们去，今天的公园里面玩") == ["我们去，", "今天的公园里面玩"]


def test_no_full_stop_begins_a_line() -> None:
    assert cut("今天天气很好我们去玩。") == ["今天天气很", "好我们去玩。"]


def test_line_breaks_in_the_text_count_as_spaces() -> None:
    assert lines("\n one\n\n\ttwo\x00 \r\n") == [("one two",)]


def test_markup_is_plain_text() -> None:
    assert lines("<i>a</i> --> {b} & c") == [("<i>a</i> --> {b} & c",)]


def test_no_cue_is_empty() -> None:
    invisible = [Segment(start=0, end=9, text=text) for text in ("", " \n", "\x07", "\u00a0")]
    assert make_cues(invisible, DEFAULT) == []


# When cues are shown

HALVES = CueStyle(max_line_width=30, max_line_count=1)


def test_time_is_divided_by_length_of_text() -> None:
    segment = Segment(start=10, end=14, text=f"{'x' * 29}. {'y' * 10}")
    assert times(segment, style=HALVES) == [(10, 13), (13, 14)]


def test_cues_of_fast_speech_extend_into_the_silence_after_it() -> None:
    assert times(Segment(start=2, end=3, text="x" * 40)) == [(2, 4)]


def test_cues_of_fast_speech_end_when_the_next_segment_starts() -> None:
    following = Segment(start=3.5, end=9, text="There it was.")
    assert times(Segment(start=2, end=3, text="x" * 40), following)[0] == (2, 3.5)


def test_a_segment_without_text_counts_as_silence() -> None:
    silence = Segment(start=3, end=9, text=" ")
    assert times(Segment(start=2, end=3, text="x" * 40), silence) == [(2, 4)]


def test_all_cues_of_a_segment_share_the_silence() -> None:
    segment = Segment(start=0, end=2, text=f"{'x' * 30} {'y' * 30}")
    assert times(segment, style=HALVES) == [(0, 1.5), (1.5, 3)]


def test_reading_speed_yields_to_the_next_segment() -> None:
    crowded = Segment(start=0, end=2, text=f"{'x' * 30} {'y' * 30}")
    following = Segment(start=2, end=4, text="Yes.")
    assert times(crowded, following, style=HALVES) == [(0, 1), (1, 2), (2, 4)]


def test_a_short_cue_takes_time_from_its_neighbor() -> None:
    segment = Segment(start=0, end=3.5, text=f"No. {'x' * 30}")
    assert times(segment, style=HALVES) == [(0, 1), (1, 3.5)]
    segment = Segment(start=0, end=3.5, text=f"{'x' * 29}. No")
    assert times(segment, style=HALVES) == [(0, 2.5), (2.5, 3.5)]


def test_a_short_word_is_shown_for_a_second() -> None:
    assert times(Segment(start=5, end=5.2, text="No.")) == [(5, 6)]


def test_a_cue_that_lasts_too_long_is_cut() -> None:
    segment = Segment(start=0, end=12, text="We went there. We came back.")
    assert [cue.lines for cue in make_cues([segment], DEFAULT)] == [
        ("We went there.",),
        ("We came back.",),
    ]


def test_a_word_is_shown_for_the_maximum_duration_at_most() -> None:
    assert times(Segment(start=0, end=30, text="Yes.")) == [(0, 7)]


def test_a_cue_that_takes_longer_to_read_is_shown_longer() -> None:
    style = CueStyle(max_line_width=80, max_line_count=4, max_duration=2)
    segment = Segment(start=0, end=2, text=" ".join(["x" * 39] * 2))
    assert times(segment, style=style) == [(0, 79 / 20)]


def test_overlapping_segments_have_cues_that_do_not_overlap() -> None:
    first, second = (Segment(start=s, end=s + 4, text="Here we are.") for s in (0, 3))
    assert times(first, second) == [(0, 3), (3, 7)]


def test_every_cue_lasts_at_least_a_millisecond() -> None:
    """Even if its segment has no duration or a negative time."""
    none = Segment(start=-1, end=-1, text="a")
    assert times(none, none, none) == [(0, 0.001), (0.001, 0.002), (0.002, 0.003)]


def test_cues_meet_in_whole_milliseconds() -> None:
    segment = Segment(start=0.12345, end=0.12345 + 20 / 3, text=f"{'x' * 29}. {'y' * 29}")
    (_, middle), (same, end) = times(segment, style=HALVES)
    assert (middle, end) == (round(middle, 3), 6.79)
    assert middle == same


# The style


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ({"max_line_width": 1}, "2 columns"),
        ({"max_line_count": 0}, "1 line or more"),
        ({"max_speed": 0.0}, "above 0"),
        ({"max_speed": float("inf")}, "finite"),
        ({"min_duration": 0.0}, "above 0"),
        ({"min_duration": 8.0}, "longest"),
    ],
)
def test_a_style_out_of_range_is_an_error(style: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CueStyle(**style)  # type: ignore[arg-type]


# Any text

WORDS = [
    "a", "to", "the.", "Of,", "and;", "in?", "That!", "it:", "Mr.", "3.5", "10,000", "“so”", "(as)",
    "e\u0301te\u0301", "<i>", "-->", "&", "mots\u00a0!", "Geschwindigkeitsbegrenzung",
]  # fmt: skip
ANYTHING = [
    *WORDS, "x" * 50, "今天，天气「很好」。", "วันนี้ไปทำงาน", "안녕하세요", "１０，０００", "\n",
    "\x00", "\u200b", "👍🏽👨‍👩‍👧🇩🇪", "བཀྲ་ཤིས", "हिन्दी", "ｱｯﾌﾟﾙ",
]  # fmt: skip
STYLES = st.builds(
    CueStyle,
    max_line_width=st.sampled_from([2, 3, 11, 42, 80]),
    max_line_count=st.sampled_from([1, 2, 3]),
    max_speed=st.floats(5, 40),
)


@st.composite
def segments_of(draw: st.DrawFn, words: list[str]) -> list[Segment]:
    """Up to four segments in order, with pauses between some of them."""
    found: list[Segment] = []
    end = 0.0
    for text in draw(st.lists(st.lists(st.sampled_from(words), max_size=20), max_size=3)):
        start = end + draw(st.sampled_from([0.0, 0.0, 0.5, 3.0]))
        end = start + draw(st.floats(1, 30))
        found.append(Segment(start=start, end=end, text=" ".join(text)))
    return found


def shown(text: str) -> str:
    """All visible characters, in order."""
    return re.sub(r"[\s\x00\u200b]", "", text)


def by_segment(segments: list[Segment], cues: list[Cue]) -> list[tuple[Segment, list[Cue]]]:
    """The cues of each segment; fails unless together they show its text once, in order."""
    left, found = list(cues), []
    for segment in segments:
        own: list[Cue] = []
        while len(shown("".join(line for cue in own for line in cue.lines))) < len(
            shown(segment.text)
        ):
            own.append(left.pop(0))
        assert shown("".join(line for cue in own for line in cue.lines)) == shown(segment.text)
        found.append((segment, own))
    assert left == []
    return found


@given(segments_of(WORDS))
def test_cues_contain_every_word_once(segments: list[Segment]) -> None:
    lines_of_cues = [line for cue in make_cues(segments, DEFAULT) for line in cue.lines]
    assert " ".join(lines_of_cues).split() == " ".join(s.text for s in segments).split()


@given(segments=segments_of(ANYTHING), style=STYLES)
def test_cues_follow_the_style_and_their_segments(segments: list[Segment], style: CueStyle) -> None:
    cues = make_cues(segments, style)
    for cue in cues:
        assert 1 <= len(cue.lines) <= style.max_line_count
        assert all(1 <= columns(line) <= style.max_line_width for line in cue.lines)
        assert all(line == line.strip() for line in cue.lines)
        assert cue.start < cue.end
    assert all(before.end <= after.start for before, after in pairwise(cues))
    visible = [segment for segment in segments if shown(segment.text)]
    starts = [own[0].start for _, own in by_segment(visible, cues)]
    assert starts == [round(segment.start, 3) for segment in visible]


@given(text=st.text(max_size=60), style=STYLES)
def test_lines_of_any_text_fit_and_lose_no_character(text: str, style: CueStyle) -> None:
    cues = make_cues([Segment(start=0, end=60, text=text)], style)
    for cue in cues:
        assert all(columns(line) <= style.max_line_width for line in cue.lines)
    written = "".join(line for cue in cues for line in cue.lines)
    assert letters(written) == letters(text)


def letters(text: str) -> list[str]:
    """Letters and digits that have a width."""
    return [char for char in text if char.isalnum() and columns(char)]


@given(segments_of(WORDS))
def test_cues_can_be_read_if_the_next_segment_leaves_time(segments: list[Segment]) -> None:
    found = by_segment([s for s in segments if s.text], make_cues(segments, DEFAULT))
    for (segment, own), (following, _) in pairwise(found):
        needs = [
            max(DEFAULT.min_duration, columns(" ".join(cue.lines)) / DEFAULT.max_speed)
            for cue in own
        ]
        if sum(needs) <= following.start - segment.start:
            assert all(
                cue.end - cue.start >= need - 0.0011 for cue, need in zip(own, needs, strict=True)
            )


# Channels


def test_channels_are_laid_out_for_themselves_and_named() -> None:
    """Two people may speak at once: neither's text is squeezed between the other's."""
    segments = [
        Segment(
            start=0, end=10, text="This takes me ten seconds to say. It really does.", channel=1
        ),
        Segment(start=1, end=3, text="Oh yes.", channel=2),
    ]
    cues = make_cues(segments, DEFAULT)
    assert cues[0].lines[0].startswith("Channel 1: This")
    (other,) = [cue for cue in cues if cue.lines[0].startswith("Channel 2: ")]
    assert (other.start, other.end, other.lines) == (1, 3, ("Channel 2: Oh yes.",))
    assert max(cue.end for cue in cues) == 10
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    assert all(cue.lines[0].startswith("Channel ") for cue in cues)


@given(st.integers(24, 60))
def test_the_names_of_channels_are_within_the_width(width: int) -> None:
    segment = Segment(start=0, end=9, text="one two three four five six seven " * 4, channel=1)
    for cue in make_cues([segment], CueStyle(max_line_width=width)):
        assert max(columns(line) for line in cue.lines) <= width
