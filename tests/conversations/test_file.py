"""The conversation file: what it may hold, and what its errors name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemma4cli.conversations.file import (
    Conversation,
    conversation_data,
    parse_conversation,
    read_conversation,
)
from gemma4cli.errors import ConversationError
from gemma4cli.messages import AudioPart, ImagePart, Message, Source, TextPart, ToolCall, VideoPart

USER = {"role": "user", "content": "Hi"}


def parse(data: object) -> Conversation:
    return parse_conversation(data, folder=Path("/talks"), name="talk.json")


def message(**fields: Any) -> Message:
    return parse({"messages": [fields]}).messages[0]


def source(name: str) -> Source:
    return Source(name=name, path=Path("/talks") / name)


def test_full_file(tmp_path: Path) -> None:
    content = [
        {"type": "image", "path": "a.png"},
        {"type": "text", "text": "What is this?"},
        {"type": "audio", "path": "sub/b.wav"},
        {"type": "video", "path": "/abs/c.mp4"},
    ]
    data = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": content},
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": "Sure? é"},
        ],
        "enable_thinking": True,
        "max_soft_tokens": 280,
        "video_max_frames": 32,
    }
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    parts = (
        ImagePart(source=Source(name="a.png", path=tmp_path / "a.png")),
        TextPart(text="What is this?"),
        AudioPart(source=Source(name="sub/b.wav", path=tmp_path / "sub" / "b.wav")),
        VideoPart(source=Source(name="/abs/c.mp4", path=Path("/abs/c.mp4"))),
    )
    assert read_conversation(path) == Conversation(
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content=parts),
            Message(role="assistant", content="A cat."),
            Message(role="user", content="Sure? é"),
        ),
        think=True,
        max_soft_tokens=280,
        video_max_frames=32,
    )


def test_a_part_of_a_recording_is_written_as_it_is_read() -> None:
    parts = [{"type": "audio", "path": "a.wav", "start": 61.5, "end": 84}]
    read = parse({"messages": [{"role": "user", "content": [*parts, *SOUNDS]}]})
    assert read.messages[0].content == (
        AudioPart(source=source("a.wav"), start=61.5, end=84.0),
        AudioPart(source=source("a.wav"), end=3.0),
        AudioPart(source=source("a.wav")),
    )
    assert parse(conversation_data(read, lambda each: each.name)) == read


SOUNDS = [{"type": "audio", "path": "a.wav", "end": 3}, {"type": "audio", "path": "a.wav"}]


def test_defaults() -> None:
    assert parse({"messages": [USER]}) == Conversation(
        messages=(Message(role="user", content="Hi"),)
    )


def test_the_key_of_traces_is_for_traces_alone() -> None:
    data = {"messages": [USER], "unified_full_attention_blocks": True}
    folder, name = Path("/talks"), "talk.json"
    talk = parse_conversation(data, folder=folder, name=name, for_trace=True)
    assert talk.unified_full_attention_blocks
    with pytest.raises(ConversationError, match=r"talk\.json: unified_full.*is only for g4 trace"):
        parse(data)
    with pytest.raises(ConversationError, match="must be true or false"):
        data["unified_full_attention_blocks"] = "yes"
        parse_conversation(data, folder=folder, name=name, for_trace=True)


def test_a_budget_outside_the_model_card_is_an_error(subtests: pytest.Subtests) -> None:
    for budget in [1, 100, 2240]:
        with (
            subtests.test(budget=budget),
            pytest.raises(ConversationError, match=r"talk\.json: max_soft_tokens.*70, 140, 280"),
        ):
            parse({"messages": [USER], "max_soft_tokens": budget})


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"messages": [USER]}).encode())
    assert len(read_conversation(str(path)).messages) == 1


def test_sampled_video() -> None:
    part = {"type": "video", "frames": ["f0.png", "f1.png"], "timestamps": [0, 1.5]}
    assert message(role="user", content=[part]).parts == (
        VideoPart(frames=(source("f0.png"), source("f1.png")), timestamps=(0.0, 1.5)),
    )


def test_an_image_may_name_its_page() -> None:
    part = {"type": "image", "path": "fax.tiff", "page": 2}
    (image,) = message(role="user", content=[part]).parts
    assert image == ImagePart(source=replace(source("fax.tiff"), page=2))


PNG = {"url": "data:image/png;base64,QUJD", "detail": "low"}
EMBEDDED: dict[str, tuple[dict[str, Any], type[ImagePart | AudioPart | VideoPart], str]] = {
    "a picture": ({"type": "image_url", "image_url": PNG}, ImagePart, "image_url.url"),
    "one by itself": (
        {"type": "image_url", "image_url": "DATA:;base64,QU JD\n"},
        ImagePart,
        "image_url",
    ),
    "percent signs": ({"type": "image_url", "image_url": "data:,A%42C"}, ImagePart, "image_url"),
    "a recording": (
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        AudioPart,
        "input_audio.data",
    ),
    "one with a type": (
        {"type": "input_audio", "input_audio": {"data": "data:audio/webm;codecs=opus;base64,QUJD"}},
        AudioPart,
        "input_audio.data",
    ),
    "a recording by URL": (
        {"type": "audio_url", "audio_url": {"url": "data:audio/mpeg;base64,QUJD"}},
        AudioPart,
        "audio_url.url",
    ),
    "a clip": (
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QUJD"}},
        VideoPart,
        "video_url.url",
    ),
}


@pytest.mark.parametrize("case", EMBEDDED)
def test_media_may_be_in_the_file_as_openai_has_them(case: str) -> None:
    part, kind, key = EMBEDDED[case]
    (made,) = message(role="user", content=[part]).parts
    name = f"talk.json: messages[0].content[0].{key}"
    assert made == kind(source=Source(name=name, data=b"ABC"))


def test_a_request_of_openais_api_is_a_conversation() -> None:
    request = {"model": "gpt-4o", "max_tokens": 9, "stream": True, "tool_choice": "auto", "n": 1}
    assert parse({"messages": [USER], **request}) == parse({"messages": [USER]})


def test_developer_is_system() -> None:
    assert message(role="developer", content="x").role == "system"


def test_tool_calls_and_results() -> None:
    function = {"name": "now", "arguments": {"zone": "CET"}}
    call = {"id": "c1", "type": "function", "function": function}
    assert message(role="assistant", content=None, tool_calls=[call]) == Message(
        role="assistant",
        content="",
        tool_calls=(ToolCall(name="now", arguments={"zone": "CET"}, id="c1"),),
    )
    answer = {"role": "tool", "tool_call_id": "c1", "name": "now", "content": "9:00"}
    assert message(**answer) == Message(role="tool", content="9:00", tool_call_id="c1", name="now")


def test_arguments_may_be_a_json_string(subtests: pytest.Subtests) -> None:
    for arguments, parsed in [('{"a": 1}', {"a": 1}), (None, {}), ({"b": [2]}, {"b": [2]})]:
        with subtests.test(arguments=arguments, parsed=parsed):
            call = {"function": {"name": "f", "arguments": arguments}}
            (made,) = message(role="assistant", content="", tool_calls=[call]).tool_calls
            assert made == ToolCall(name="f", arguments=parsed)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning(key: str) -> None:
    assert message(role="assistant", content="x", **{key: "hm"}).thoughts == "hm"


def test_tools_are_kept() -> None:
    tool = {"type": "function", "function": {"name": "now"}}
    assert parse({"messages": [USER], "tools": [tool]}).tools == (tool,)


def test_other_keys_are_ignored() -> None:
    part = {"type": "text", "text": "Hi", "cache": True}
    data = {"messages": [USER | {"content": [part], "refusal": None}], "model": "e2b"}
    assert parse(data).messages[0].parts == (TextPart(text="Hi"),)


CALL = {"function": {"name": "f", "arguments": {}}}
SOUND = {"type": "audio", "path": "a.wav"}
FRAMES = {"type": "video", "frames": ["a"], "timestamps": [0]}


def content_of(*parts: object) -> dict[str, object]:
    return {"messages": [USER, {"role": "user", "content": list(parts)}]}


def picture(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": url}


def assistant_with(call: object) -> dict[str, object]:
    return {"messages": [{"role": "assistant", "tool_calls": [call]}]}


def test_each_mistake_is_named_with_its_location(subtests: pytest.Subtests) -> None:
    for data, problem in [
        ([USER], 'must be an object with "messages"'),
        ({}, 'must be an object with "messages"'),
        ({"messages": {}}, "messages: must be a list"),
        ({"messages": []}, "messages: is empty"),
        ({"messages": ["Hi"]}, r"messages\[0\]: must be an object"),
        ({"messages": [{"content": "x"}]}, r"messages\[0\]: lacks 'role'"),
        ({"messages": [{"role": 3}]}, r"messages\[0\]\.role: must be a string"),
        ({"messages": [USER | {"role": "bot"}]}, r"messages\[0\]\.role: unknown role 'bot'"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]\.content: must be a string or"),
        ({"messages": [{"role": "assistant", "content": None}]}, r"content: must be a string or"),
        ({"messages": [USER | {"tool_calls": [CALL]}]}, "only an assistant message"),
        ({"messages": [USER | {"reasoning": "x"}]}, "only an assistant message"),
        ({"messages": [USER | {"name": 3}]}, r"messages\[0\]\.name: must be a string"),
        ({"messages": [USER], "enable_thinking": "yes"}, "enable_thinking: must be true or"),
        ({"messages": [USER], "enable_thinkng": True}, "'enable_thinkng': write 'enable_thinking'"),
        (content_of({"type": "image", "path": "a.tiff", "page": 0}), r"page: must be the number"),
        ({"messages": [USER], "max_soft_tokens": 0}, "max_soft_tokens: must be a whole number"),
        ({"messages": [USER], "max_soft_tokens": True}, "max_soft_tokens: must be a whole"),
        ({"messages": [USER], "video_max_frames": 1.5}, "video_max_frames: must be a whole"),
        ({"messages": [USER], "tools": {}}, "tools: must be a list"),
        (
            {"messages": [USER], "tools": [{"name": "f"}]},
            r"tools\[0\]\.function: must be an object",
        ),
        ({"messages": [USER], "tools": [{"function": {}}]}, r"tools\[0\]\.function: lacks 'name'"),
        (content_of("Hi"), r"messages\[1\]\.content\[0\]: must be an object"),
        (content_of({"text": "x"}), r"content\[0\]: lacks 'type'"),
        (content_of({"type": "text"}), r"content\[0\]: lacks 'text'"),
        (content_of({"type": "image"}), r"content\[0\]: lacks 'path'"),
        (content_of({"type": "image", "path": ""}), r"content\[0\]\.path: must be the path"),
        (content_of({"type": "image", "path": 3}), r"content\[0\]\.path: must be a string"),
        (content_of(picture("data:image/png;base64,Q")), r"content\[0\]\.image_url: is not base64"),
        (content_of(picture("data:image/png;base64,")), r"content\[0\]\.image_url: is empty"),
        (content_of(picture("data:image/png")), "is not a whole data: URL"),
        (content_of(picture("https://x.org/a.png")), "is an address, which is not downloaded"),
        (content_of(picture("a.png")), r'a file is \{"type": "image", "path": "FILE"\}'),
        (content_of(picture("file:///etc/passwd")), "is no data: URL; a file is"),
        (content_of({"type": "image_url"}), r"\.image_url: must be a URL"),
        (content_of({"type": "input_audio", "input_audio": "QUJD"}), "input_audio: must be an obj"),
        (content_of({"type": "file", "file": {}}), "unknown type 'file': use text, image, audio"),
        (content_of({"type": "smell", "path": "x"}), r"content\[0\]\.type: unknown type 'smell'"),
        (content_of({"type": "video"}), r"content\[0\]: lacks 'path'"),
        (content_of(FRAMES | {"path": "x"}), "either a path or frames"),
        (content_of(SOUND | {"start": -1}), r"\.start: must be seconds, 0 or more"),
        (content_of(SOUND | {"end": "9"}), r"\.end: must be seconds, 0 or more"),
        (content_of(SOUND | {"start": 9, "end": 9}), r"\.end: must be after the start"),
        (content_of(FRAMES | {"timestamps": [0, 1]}), "has 1 frames but 2 timestamps"),
        (content_of({"type": "video", "frames": ["a"]}), r"\.timestamps: must be a list"),
        (content_of({"type": "video", "timestamps": [0]}), r"\.frames: must be a list"),
        (content_of(FRAMES | {"frames": [], "timestamps": []}), r"\.frames: is empty"),
        (content_of(FRAMES | {"frames": [3]}), r"\.frames\[0\]: must be the path"),
        (content_of(FRAMES | {"timestamps": ["0"]}), r"\.timestamps\[0\]: must be seconds"),
        (content_of(FRAMES | {"timestamps": [-1]}), r"\.timestamps\[0\]: must be seconds"),
        (content_of(FRAMES | {"timestamps": [float("nan")]}), r"\.timestamps\[0\]: must be"),
        (content_of(FRAMES | {"timestamps": [10**400]}), r"\.timestamps\[0\]: must be"),
        (assistant_with({}), r"tool_calls\[0\]\.function: must be an object"),
        (assistant_with({"function": {"arguments": {}}}), r"\.function: lacks 'name'"),
        (assistant_with({"function": {"name": "f", "arguments": "{"}}), "arguments: is not valid"),
        (assistant_with({"function": {"name": "f", "arguments": "3"}}), "arguments: must be an"),
    ]:
        with subtests.test(data=data, problem=problem):
            with pytest.raises(ConversationError, match=problem) as caught:
                parse(data)
            assert str(caught.value).startswith("talk.json: ")
            assert "\n" not in str(caught.value)


def test_a_file_that_is_not_json_is_an_error(subtests: pytest.Subtests, tmp_path: Path) -> None:
    for content, problem in [
        (b"", "is not valid JSON: line 1 column 1"),
        (b'{"messages": [\n}', "is not valid JSON: line 2 column 1"),
        (b'{"messages": "\xff"}', "is not UTF-8 text"),
        (bytes(range(256)), "is not UTF-8 text"),
        (b'{"messages": ' + b"[" * 200_000, "more than 100 deep"),
        (b'{"messages": ' + b"9" * 5000 + b"}", "messages: must be a finite number"),
    ]:
        with subtests.test(content=content, problem=problem):
            path = tmp_path / "talk.json"
            path.write_bytes(content)
            with pytest.raises(ConversationError, match=rf"talk\.json: .*{problem}"):
                read_conversation(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match=r"talk\.json: no such file"):
        read_conversation(tmp_path / "talk.json")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match="cannot be read"):
        read_conversation(tmp_path)
