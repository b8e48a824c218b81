"""Prompts equal the published template's output, id by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from support.prompts import LARGE, SMALL, user

from gemma4cli.conversations.file import parse_conversation
from gemma4cli.errors import (
    ConversationError,
    PlaceholderMismatchError,
)
from gemma4cli.messages import (
    AudioPart,
    ImagePart,
    Part,
    Source,
    TextPart,
    VideoPart,
)
from gemma4cli.processing.prompt import (
    PLACEHOLDER,
    AudioSlot,
    ImageSlot,
    MediaSpan,
    Prompt,
    PromptStyle,
    Slot,
    VideoSlot,
    build_prompt,
    check_placeholders,
    media_parts,
)
from gemma4cli.processing.tokenizer import Tokenizer

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "tokenizer" / "golden_prompts.json").read_text()
)

STYLES = {"E2B-E4B": SMALL, "12B-26B-31B": LARGE}

SOURCE = Source(name="x")
IMAGE = ImagePart(source=SOURCE)
AUDIO = AudioPart(source=SOURCE)
VIDEO = VideoPart(source=SOURCE)


def ids_of(tokenizer: Tokenizer, *parts: str | int) -> tuple[int, ...]:
    """Ids of texts, control tokens and single ids: a prompt written out by hand."""
    ids: list[int] = []
    for part in parts:
        if isinstance(part, int):
            ids.append(part)
        elif tokenizer.has_control(part):
            ids.append(tokenizer.control_id(part))
        else:
            ids += tokenizer.encode(part)
    return tuple(ids)


@pytest.mark.parametrize("size", GOLDEN)
def test_prompts_equal_those_of_the_published_template(gemma: Tokenizer, size: str) -> None:
    wrong = [name for name, case in GOLDEN[size].items() if not matches(gemma, size, case)]
    assert wrong == []


def matches(gemma: Tokenizer, size: str, case: dict[str, Any]) -> bool:
    """Whether text and ids are those of a golden case, in which a medium is one placeholder."""
    options = case["kwargs"]
    data = [without_bare_media(message) for message in case["messages"]]
    messages = parse_conversation({"messages": data}, folder=Path(), name="golden").messages
    prompt = build_prompt(
        messages,
        [one_soft_token(part) for part in media_parts(messages)],
        tokenizer=gemma,
        style=STYLES[size],
        think=options.get("enable_thinking", False),
        tools=options.get("tools", ()),
        add_generation_prompt=options["add_generation_prompt"],
    )
    text, ids = expanded_golden(gemma, case["text"], case["ids"])
    return (prompt.text, list(prompt.ids)) == (text, ids)


def without_bare_media(message: dict[str, Any]) -> dict[str, Any]:
    """Adds the paths that the conversation parser requires and the golden file lacks."""
    if isinstance(message["content"], str):
        return message
    return message | {"content": [{"path": "x"} | part for part in message["content"]]}


def one_soft_token(part: Part) -> Slot:
    match part:
        case ImagePart():
            return ImageSlot(soft_tokens=1)
        case AudioPart():
            return AudioSlot(soft_tokens=1)
        case _:
            return VideoSlot(frames=((0.0, 1),))


def expanded_golden(gemma: Tokenizer, text: str, ids: list[int]) -> tuple[str, list[int]]:
    """Begin and end tokens around every bare placeholder of a golden case.

    In the golden file a video comes first in its turn, so its label joins the text "user\\n".
    """
    around = {
        "<|image|>": ("<|image>", "<image|>"),
        "<|audio|>": ("<|audio>", "<audio|>"),
        "<|video|>": ("<|image>", "<image|>"),
    }
    label = "00:00 "
    for name, (begin, end) in around.items():
        text = text.replace(name, (label if "video" in name else "") + begin + name + end)
    expanded: list[int] = []
    markers = {gemma.control_id(name): pair for name, pair in around.items()}
    for token_id in ids:
        if token_id not in markers:
            expanded.append(token_id)
            continue
        if token_id == gemma.control_id("<|video|>"):
            start = gemma.encode("user\n")
            assert expanded[-len(start) :] == start
            expanded[-len(start) :] = gemma.encode(f"user\n{label}")
        first, last = (gemma.control_id(name) for name in markers[token_id])
        expanded += [first, token_id, last]
    return text, expanded


def test_an_image_becomes_begin_token_placeholders_and_end_token(gemma: Tokenizer) -> None:
    prompt = build_prompt(
        [user(IMAGE, "Describe.")], [ImageSlot(soft_tokens=3)], tokenizer=gemma, style=SMALL
    )
    turn = [2, 105, 2364, 107]
    image = [255999, 258880, 258880, 258880, 258882]
    rest = [82858, 236761, 106, 107, 105, 4368, 107]
    assert list(prompt.ids) == turn + image + rest
    assert prompt.spans == (MediaSpan(kind="image", start=5, end=8, item=0),)
    assert prompt.text == (
        "<bos><|turn>user\n<|image><|image|><|image|><|image|><image|>Describe.<turn|>\n"
        "<|turn>model\n"
    )


def test_a_clip_becomes_begin_token_placeholders_and_end_token(tiny: Tokenizer) -> None:
    prompt = build_prompt(
        [user("Transcribe.", AUDIO)],
        [AudioSlot(soft_tokens=2)],
        tokenizer=tiny,
        style=SMALL,
        add_generation_prompt=False,
    )
    clip = ("<|audio>", "<|audio|>", "<|audio|>", "<audio|>")
    assert prompt.ids == ids_of(
        tiny, "<bos>", "<|turn>", "user\nTranscribe.", *clip, "<turn|>", "\n"
    )
    (span,) = prompt.spans
    assert set(prompt.ids[span.start : span.end]) == {tiny.control_id("<|audio|>")}


def test_labels_of_frames_join_the_text_around_them(gemma: Tokenizer) -> None:
    frames = ((0.0, 1), (1.5, 2), (61.99, 1))
    prompt = build_prompt(
        [user("Clip:", VIDEO, "What happens?")],
        [VideoSlot(frames=frames)],
        tokenizer=gemma,
        style=SMALL,
        add_generation_prompt=False,
    )
    one = ("<|image>", "<|video|>", "<image|>")
    two = ("<|image>", "<|video|>", "<|video|>", "<image|>")
    assert prompt.ids == ids_of(
        gemma,
        *("<bos>", "<|turn>", "user\nClip:00:00 ", *one, " 00:01 ", *two, " 01:01 ", *one),
        *("What happens?", "<turn|>", "\n"),
    )
    assert [(span.kind, span.item, span.frame) for span in prompt.spans] == [
        ("video", 0, 0),
        ("video", 0, 1),
        ("video", 0, 2),
    ]
    assert [span.end - span.start for span in prompt.spans] == [1, 2, 1]


def test_several_media_keep_their_order(tiny: Tokenizer) -> None:
    prompt = build_prompt(
        [user("A:", IMAGE, "B:", IMAGE), user(VIDEO, AUDIO, "?")],
        [
            ImageSlot(soft_tokens=1),
            ImageSlot(soft_tokens=2),
            VideoSlot(frames=((0.0, 3), (1.0, 3))),
            AudioSlot(soft_tokens=4),
        ],
        tokenizer=tiny,
        style=SMALL,
    )
    found = [(span.kind, span.item, span.frame, span.end - span.start) for span in prompt.spans]
    assert found == [
        ("image", 0, None, 1),
        ("image", 1, None, 2),
        ("video", 2, 0, 3),
        ("video", 2, 1, 3),
        ("audio", 3, None, 4),
    ]


def test_adjacent_texts_are_encoded_at_once(gemma: Tokenizer) -> None:
    split = build_prompt([user("Hel", "lo")], tokenizer=gemma, style=SMALL)
    whole = build_prompt([user("Hello")], tokenizer=gemma, style=SMALL)
    assert split == whole


COUNT = st.integers(1, 9)
TEXT = st.sampled_from(["Hi", " a b ", "\n", "", "é😀", "1 "]) | st.text(
    "<|>image_turn \n", max_size=6
)
FRAME_TIMES = st.lists(st.floats(0, 5000), min_size=1, max_size=4).map(sorted)
PART = st.one_of(
    TEXT.map(lambda text: (TextPart(text=text), None)),
    COUNT.map(lambda count: (IMAGE, ImageSlot(soft_tokens=count))),
    COUNT.map(lambda count: (AUDIO, AudioSlot(soft_tokens=count))),
    st.builds(
        lambda times, count: (VIDEO, VideoSlot(frames=tuple((time, count) for time in times))),
        FRAME_TIMES,
        COUNT,
    ),
)


@given(
    turns=st.lists(st.lists(PART, max_size=4), min_size=1, max_size=5),
    style=st.sampled_from([SMALL, LARGE]),
    think=st.booleans(),
)
def test_spans_are_exactly_the_placeholders_of_the_media(
    tiny: Tokenizer,
    turns: list[list[tuple[Part, Slot | None]]],
    style: PromptStyle,
    think: bool,
) -> None:
    messages = [user(*(part for part, _ in turn)) for turn in turns]
    slots = [slot for turn in turns for _, slot in turn if slot is not None]
    prompt = build_prompt(messages, slots, tokenizer=tiny, style=style, think=think)
    for kind, name in PLACEHOLDER.items():
        found = [i for i, token_id in enumerate(prompt.ids) if token_id == tiny.control_id(name)]
        spans = [span for span in prompt.spans if span.kind == kind]
        assert found == [i for span in spans for i in range(span.start, span.end)]
    check_placeholders(prompt, soft_tokens_of(slots))


PLAIN = PART.filter(lambda each: not (isinstance(each[0], TextPart) and "<" in each[0].text))


@given(
    turns=st.lists(st.lists(PLAIN, max_size=4), min_size=1, max_size=5),
    style=st.sampled_from([SMALL, LARGE]),
    think=st.booleans(),
)
def test_ids_are_those_of_the_rendered_text(
    tiny: Tokenizer,
    rendered_ids: tokenizers.Tokenizer,
    turns: list[list[tuple[Part, Slot | None]]],
    style: PromptStyle,
    think: bool,
) -> None:
    messages = [user(*(part for part, _ in turn)) for turn in turns]
    slots = [slot for turn in turns for _, slot in turn if slot is not None]
    prompt = build_prompt(messages, slots, tokenizer=tiny, style=style, think=think)
    assert rendered_ids.encode(prompt.text, add_special_tokens=False).ids == list(prompt.ids)


def soft_tokens_of(slots: list[Slot]) -> dict[Any, list[int]]:
    counts: dict[Any, list[int]] = {"image": [], "audio": [], "video": []}
    for slot in slots:
        match slot:
            case ImageSlot(soft_tokens=count):
                counts["image"].append(count)
            case AudioSlot(soft_tokens=count):
                counts["audio"].append(count)
            case VideoSlot(frames=frames):
                counts["video"] += [count for _, count in frames]
    return counts


@pytest.mark.parametrize("slots", [[], [ImageSlot(soft_tokens=1)] * 2])
def test_slots_must_match_the_media(tiny: Tokenizer, slots: list[Slot]) -> None:
    with pytest.raises(ConversationError, match=f"1 media parts but {len(slots)}"):
        build_prompt([user(IMAGE)], slots, tokenizer=tiny, style=SMALL)


def test_a_slot_of_another_kind_is_an_error(tiny: Tokenizer) -> None:
    with pytest.raises(ConversationError, match=r"part 1 is of kind image but .* audio"):
        build_prompt([user(IMAGE)], [AudioSlot(soft_tokens=1)], tokenizer=tiny, style=SMALL)


def test_a_video_without_frames_is_an_error(tiny: Tokenizer) -> None:
    with pytest.raises(ConversationError, match="without frames"):
        build_prompt([user(VIDEO)], [VideoSlot(frames=())], tokenizer=tiny, style=SMALL)


@pytest.fixture
def two_images(tiny: Tokenizer) -> Prompt:
    slots = [ImageSlot(soft_tokens=2), ImageSlot(soft_tokens=3)]
    return build_prompt([user(IMAGE, IMAGE)], slots, tokenizer=tiny, style=SMALL)


MISMATCHES: list[tuple[dict[Any, list[int]], tuple[str, int, int]]] = [
    ({"image": [2, 2]}, ("image", 5, 4)),
    ({"image": [3, 2]}, ("image", 2, 3)),
    ({"image": [5]}, ("image", 2, 5)),
    ({}, ("image", 5, 0)),
    ({"image": [2, 3], "audio": [7]}, ("audio", 0, 7)),
]


def test_placeholders_without_their_soft_tokens_are_an_error(two_images: Prompt) -> None:
    for soft_tokens, expected in MISMATCHES:
        with pytest.raises(PlaceholderMismatchError) as caught:
            check_placeholders(two_images, soft_tokens)
        error = caught.value
        assert (error.kind, error.placeholders, error.soft_tokens) == expected


def test_matching_placeholders_are_accepted(two_images: Prompt) -> None:
    check_placeholders(two_images, {"image": [2, 3], "video": []})
