"""The conversation file under any content: read as it was written, or refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.conversations.file import (
    Conversation,
    conversation_data,
    parse_conversation,
    read_conversation,
)
from gemma4cli.errors import ConversationError
from gemma4cli.messages import (
    AudioPart,
    ImagePart,
    Message,
    Source,
    TextPart,
    ToolCall,
    VideoPart,
)
from gemma4cli.options import SOFT_TOKEN_BUDGETS

FOLDER = Path("/talks")

# What may be in a file

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
WORDS = st.sampled_from(
    ["user", "assistant", "tool", "system", "text", "image", "audio", "video", "a.png", "{}", "["]
)
MESSAGE_KEYS = ["role", "content", "reasoning", "reasoning_content", "tool_calls", "name", "id"]
PART_KEYS = ["type", "text", "path", "frames", "timestamps", "page", "function", "arguments"]
KEYS = st.sampled_from([*MESSAGE_KEYS, *PART_KEYS, "messages", "tools", "tool_call_id"])
VALUES = st.recursive(
    LEAVES | WORDS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=5),
    max_leaves=12,
)
FILES = st.fixed_dictionaries(
    {"messages": st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=3)},
    optional={"tools": VALUES, "max_soft_tokens": VALUES, "enable_thinking": VALUES},
)

# What may be in a conversation

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = TEXT.filter(lambda name: name and "\0" not in name)
SOURCES = NAMES.map(lambda name: Source(name=name, path=FOLDER / name))
PAGES = st.builds(replace, SOURCES, page=st.none() | st.integers(1, 99))
SECONDS = st.floats(0, 1e5)
FRAMES = st.lists(st.tuples(SOURCES, SECONDS), min_size=1, max_size=3).map(
    lambda pairs: VideoPart(
        frames=tuple(source for source, _ in pairs), timestamps=tuple(at for _, at in pairs)
    )
)
PARTS = (
    st.builds(TextPart, text=TEXT)
    | st.builds(ImagePart, source=PAGES)
    | st.builds(AudioPart, source=SOURCES)
    | st.builds(VideoPart, source=SOURCES)
    | FRAMES
)
CONTENT = TEXT | st.lists(PARTS, max_size=3).map(tuple)
ARGUMENTS = st.dictionaries(TEXT, st.integers() | TEXT | st.lists(st.booleans()), max_size=3)
CALLS = st.builds(ToolCall, name=TEXT, arguments=ARGUMENTS, id=st.none() | TEXT)
MESSAGES = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "user"]), content=CONTENT),
    st.builds(
        Message,
        role=st.just("assistant"),
        content=CONTENT,
        thoughts=st.none() | TEXT.filter(bool),
        tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    ),
    st.builds(
        Message, role=st.just("tool"), content=TEXT, tool_call_id=TEXT, name=st.none() | TEXT
    ),
)
CONVERSATIONS = st.builds(
    Conversation,
    messages=st.lists(MESSAGES, min_size=1, max_size=4).map(tuple),
    think=st.booleans(),
    max_soft_tokens=st.none() | st.sampled_from([*SOFT_TOKEN_BUDGETS, "auto"]),
    video_max_frames=st.none() | st.integers(1, 1000),
    tools=st.lists(TEXT.map(lambda name: {"function": {"name": name}}), max_size=2).map(tuple),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("talks") / "talk.json"


def read_or_refuse(path: Path) -> None:
    try:
        assert isinstance(read_conversation(path), Conversation)
    except ConversationError as error:
        assert str(error).startswith(f"{path}: ")


@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_conversation_or_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    read_or_refuse(path)


@given(data=FILES | VALUES)
def test_any_json_is_a_conversation_or_an_error(path: Path, data: object) -> None:
    path.write_text(json.dumps(data))
    read_or_refuse(path)


@given(conversation=CONVERSATIONS)
def test_a_conversation_comes_back_from_its_data(conversation: Conversation) -> None:
    data = json.loads(json.dumps(conversation_data(conversation, lambda source: source.name)))
    assert parse_conversation(data, folder=FOLDER, name="talk.json") == conversation
