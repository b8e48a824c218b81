"""Subtitle cues: where texts are cut, and when cues stand."""

# ruff: noqa: RUF001  wide punctuation is meant

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from itertools import pairwise

import pytest

from gemma4cli.errors import OptionError
from gemma4cli.subtitles.cues import Cue, CueStyle, shape
from gemma4cli.subtitles.line_breaks import columns
from gemma4cli.transcript import Segment

USUAL = CueStyle()


def spoken(text: str) -> Segment:
    """A segment that is said at 14 columns a second, which is neither fast nor slow."""
    return Segment(start=0, end=columns(text) / 14, text=text)


def lines(text: str, style: CueStyle = USUAL) -> list[tuple[str, ...]]:
    return [cue.lines for cue in shape([spoken(text)], style)]


def cut(text: str) -> list[str]:
    """The cues of one line of 20 columns."""
    style = CueStyle(max_line_width=20, max_line_count=1)
    return [line for cue in lines(text, style) for line in cue]


def times(*segments: Segment, style: CueStyle = USUAL) -> list[tuple[float, float]]:
    return [(cue.start, cue.end) for cue in shape(segments, style)]


# Where texts are cut


def test_what_fits_stays_one_cue() -> None:
    text = "Hello there. How are you? It is late."
    assert shape([Segment(start=1, end=4, text=text)], USUAL) == [
        Cue(start=1, end=4, lines=(text,))
    ]


def test_sentences_come_before_clauses() -> None:
    assert cut("We go. Then, it got dark") == ["We go.", "Then, it got dark"]


def test_clauses_come_before_words() -> None:
    assert cut("We go, then it got darker") == ["We go,", "then it got darker"]


def test_between_words_cues_are_even() -> None:
    assert cut("we all went home and then it rained") == ["we all went home", "and then it rained"]


def test_point_inside_a_sentence_is_no_end() -> None:
    assert cut("Dr. No came by to see Mr. Smith") == ["Dr. No came by", "to see Mr. Smith"]
    assert cut("We paid 3.5 and then 10,000 more") == ["We paid 3.5 and", "then 10,000 more"]


def test_only_a_word_longer_than_a_line_is_cut() -> None:
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


def test_line_breaks_of_the_text_are_spaces() -> None:
    assert lines("\n one\n\n\ttwo\x00 \r\n") == [("one two",)]


def test_markup_is_text() -> None:
    assert lines("<i>a</i> --> {b} & c") == [("<i>a</i> --> {b} & c",)]


@pytest.mark.parametrize("text", ["", " \n", "\x07", "\u00a0"])
def test_no_cue_is_empty(text: str) -> None:
    assert shape([Segment(start=0, end=9, text=text)], USUAL) == []


# When cues stand

HALVES = CueStyle(max_line_width=30, max_line_count=1)


def test_time_is_shared_out_by_length() -> None:
    segment = Segment(start=10, end=14, text=f"{'x' * 29}. {'y' * 10}")
    assert times(segment, style=HALVES) == [(10, 13), (13, 14)]


def test_fast_speech_reaches_into_the_silence_behind_it() -> None:
    assert times(Segment(start=2, end=3, text="x" * 40)) == [(2, 4)]


def test_fast_speech_ends_where_the_next_begins() -> None:
    following = Segment(start=3.5, end=9, text="There it was.")
    assert times(Segment(start=2, end=3, text="x" * 40), following)[0] == (2, 3.5)


def test_silence_has_no_text() -> None:
    silence = Segment(start=3, end=9, text=" ")
    assert times(Segment(start=2, end=3, text="x" * 40), silence) == [(2, 4)]


def test_all_cues_share_the_silence() -> None:
    segment = Segment(start=0, end=2, text=f"{'x' * 30} {'y' * 30}")
    assert times(segment, style=HALVES) == [(0, 1.5), (1.5, 3)]


def test_where_there_is_no_room_speed_gives_way() -> None:
    crowded = Segment(start=0, end=2, text=f"{'x' * 30} {'y' * 30}")
    following = Segment(start=2, end=4, text="Yes.")
    assert times(crowded, following, style=HALVES) == [(0, 1), (1, 2), (2, 4)]


def test_short_cue_takes_time_from_its_neighbour() -> None:
    segment = Segment(start=0, end=3.5, text=f"No. {'x' * 30}")
    assert times(segment, style=HALVES) == [(0, 1), (1, 3.5)]
    segment = Segment(start=0, end=3.5, text=f"{'x' * 29}. No")
    assert times(segment, style=HALVES) == [(0, 2.5), (2.5, 3.5)]


def test_short_word_stands_for_a_second() -> None:
    assert times(Segment(start=5, end=5.2, text="No.")) == [(5, 6)]


def test_long_cue_is_cut_for_its_duration() -> None:
    segment = Segment(start=0, end=12, text="We went there. We came back.")
    assert [cue.lines for cue in shape([segment], USUAL)] == [
        ("We went there.",),
        ("We came back.",),
    ]


def test_word_stands_no_longer_than_it_may() -> None:
    assert times(Segment(start=0, end=30, text="Yes.")) == [(0, 7)]


def test_what_takes_longer_to_read_stands_longer() -> None:
    style = CueStyle(max_line_width=80, max_line_count=4, max_duration=2)
    segment = Segment(start=0, end=2, text=" ".join(["x" * 39] * 2))
    assert times(segment, style=style) == [(0, 79 / 20)]


def test_segments_that_overlap_have_cues_that_do_not() -> None:
    first, second = (Segment(start=s, end=s + 4, text="Here we are.") for s in (0, 3))
    assert times(first, second) == [(0, 3), (3, 7)]


def test_every_cue_has_a_moment() -> None:
    """Also where segments have no time, or lie before the recording."""
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
        ({"max_line_count": 0}, "1 or more"),
        ({"max_speed": 0.0}, "above 0"),
        ({"max_speed": float("inf")}, "finite"),
        ({"min_duration": 0.0}, "above 0"),
        ({"min_duration": 8.0}, "longest"),
    ],
)
def test_style_is_checked(style: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CueStyle(**style)  # type: ignore[arg-type]


# Any text

WORDS = [
    "a", "to", "the.", "Of,", "and;", "in?", "That!", "it:", "Mr.", "3.5", "10,000", "“so”", "(as)",
    "e\u0301te\u0301", "<i>", "-->", "&", "mots\u00a0!", "Geschwindigkeitsbegrenzung",
]  # fmt: skip
ANYTHING = [
    *WORDS, "x" * 50, "今天，天气「很好」。", "วันนี้ไปทำงาน", "안녕하세요", "１０，０００", "\n",
    "\x00", "\u200b",
]  # fmt: skip


def any_segments(seed: int, words: Iterable[str]) -> list[Segment]:
    chance, vocabulary = random.Random(seed), list(words)
    segments, clock = [], 0.0
    for _ in range(8):
        clock += chance.choice([0, 0, chance.uniform(0, 3)])
        start, clock = clock, clock + chance.uniform(1, 30)
        text = " ".join(chance.choices(vocabulary, k=chance.choice([0, 1, 3, 20, 50])))
        segments.append(Segment(start=start, end=clock, text=text))
    return segments


def any_style(seed: int) -> CueStyle:
    chance = random.Random(seed)
    return CueStyle(
        max_line_width=chance.choice([2, 3, 11, 42, 80]),
        max_line_count=chance.choice([1, 2, 3]),
        max_speed=chance.uniform(5, 40),
    )


def shown(text: str) -> str:
    """All characters that must be seen, in order."""
    return re.sub(r"[\s\x00\u200b]", "", text)


def by_segment(segments: list[Segment], cues: list[Cue]) -> list[tuple[Segment, list[Cue]]]:
    """The cues that hold each segment's text; fails unless together they hold it once, in order."""
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


@pytest.mark.parametrize("seed", range(8))
def test_every_word_is_there_once(seed: int) -> None:
    segments = any_segments(seed, WORDS)
    said = [line for cue in shape(segments, USUAL) for line in cue.lines]
    assert " ".join(said).split() == " ".join(s.text for s in segments).split()


@pytest.mark.parametrize("seed", range(8))
def test_lines_and_cues_keep_to_the_style(seed: int) -> None:
    style = any_style(seed)
    for cue in shape(any_segments(seed, ANYTHING), style):
        assert 1 <= len(cue.lines) <= style.max_line_count
        assert all(1 <= columns(line) <= style.max_line_width for line in cue.lines)
        assert all(line == line.strip() for line in cue.lines)


@pytest.mark.parametrize("seed", range(8))
def test_cues_keep_to_their_segments(seed: int) -> None:
    segments = [s for s in any_segments(seed, ANYTHING) if shown(s.text)]
    cues = shape(segments, CueStyle(max_line_width=11 + 5 * seed, max_speed=10 + 5 * seed))
    assert all(a.end <= b.start for a, b in pairwise(cues))
    assert all(cue.start < cue.end for cue in cues)
    found = by_segment(segments, cues)
    assert [own[0].start for _, own in found] == [round(s.start, 3) for s in segments]


@pytest.mark.parametrize("seed", range(8))
def test_cues_can_be_read_where_there_is_room(seed: int) -> None:
    segments = [s for s in any_segments(seed, WORDS) if s.text]
    found = by_segment(segments, shape(segments, USUAL))
    for (segment, own), (following, _) in pairwise(found):
        needs = [
            max(USUAL.min_duration, columns(" ".join(cue.lines)) / USUAL.max_speed) for cue in own
        ]
        if sum(needs) <= following.start - segment.start:
            assert all(
                cue.end - cue.start >= need - 0.0011 for cue, need in zip(own, needs, strict=True)
            )
