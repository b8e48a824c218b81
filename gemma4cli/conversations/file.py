"""The conversation file: JSON to messages. Names media, opens none of them.

    {"messages": [{"role": "user", "content": [{"type": "image", "path": "a.png"},
                                               {"type": "text", "text": "What is this?"}]}],
     "enable_thinking": false, "max_soft_tokens": 280, "video_max_frames": 32, "tools": []}

Paths are relative to the file. All else is as OpenAI's chat format has it, media as data: URLs and
base64 included: assistant messages may carry ``reasoning`` and ``tool_calls``, tool messages
``tool_call_id`` and ``name``. A file for ``g4 trace`` may hold ``unified_full_attention_blocks``,
see ``LoadOptions``. Other keys are ignored, unless they look like a misspelled one. Knows no model
and no prompt format.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..bounded import read_bounded
from ..checked_json import JsonError, is_finite_number, parse, whole
from ..errors import ConversationError
from ..messages import (
    AudioPart,
    ImagePart,
    Message,
    Part,
    Source,
    TextPart,
    VideoPart,
)
from ..options import SOFT_TOKEN_BUDGETS, Budget, MediaOptions
from ..plain_text import decode_text
from .message_data import MessageReader

_TRACE_KEY = "unified_full_attention_blocks"
_KEYS = ("messages", "enable_thinking", "max_soft_tokens", "video_max_frames", "tools", _TRACE_KEY)
_OF_REQUESTS = ("max_tokens",)
"""What requests of OpenAI's API have and is no misspelled key."""
_KNOWN = "text, image, audio or video, or image_url, input_audio or video_url"
_BY_PATH = 'a file is {"type": "image", "path": "FILE"}, or audio or video'
_LONGEST_VIDEO = 1e7
"""Seconds; later timestamps are mistakes, and so are NaN and infinity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A conversation and the options in its file; None if the file has none."""

    messages: tuple[Message, ...]
    think: bool = False
    max_soft_tokens: Budget | None = None
    video_max_frames: int | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    unified_full_attention_blocks: bool = False

    @property
    def media(self) -> MediaOptions:
        """How the conversation's media are sampled."""
        return MediaOptions(budget=self.max_soft_tokens, video_max_frames=self.video_max_frames)


def read_conversation(
    path: Path | str, *, for_trace: bool = False, regular: bool = False
) -> Conversation:
    """Read a conversation file; ``ConversationError`` names the file and the path in its JSON.

    ``for_trace`` allows keys that only ``g4 trace`` uses. With ``regular``, a pipe or a device is
    an error.
    """
    path = Path(path)
    try:
        content = read_bounded(path, regular=regular)
    except FileNotFoundError as exc:
        raise ConversationError(f"{path}: no such file") from exc
    except OSError as exc:
        raise ConversationError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    return parse_text(content, folder=path.parent, name=str(path), for_trace=for_trace)


def parse_text(content: bytes, *, folder: Path, name: str, for_trace: bool = False) -> Conversation:
    """``parse_conversation`` for the bytes of a conversation file, in UTF-8 or UTF-16."""
    found = decode_text(content)
    if found is None or found.notice is not None:
        raise ConversationError(f"{name}: is not UTF-8 text")
    try:
        data = parse(found.text)
    except JsonError as exc:
        raise ConversationError(f"{name}: {exc}") from exc
    return parse_conversation(data, folder=folder, name=name, for_trace=for_trace)


def parse_conversation(
    data: object, *, folder: Path, name: str, for_trace: bool = False
) -> Conversation:
    """The conversation in JSON data; relative paths start from ``folder``."""
    return _Parser(folder=folder, name=name, for_trace=for_trace).conversation(data)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parser(MessageReader):
    """What only a file may hold: paths of media, and options of the conversation."""

    folder: Path
    name: str
    for_trace: bool

    def error(self, path: str, problem: str) -> ConversationError:
        start = f"{self.name}: {path}" if path else self.name
        return ConversationError(f"{start}: {problem}")

    def conversation(self, data: object) -> Conversation:
        if not isinstance(data, dict) or "messages" not in data:
            raise self.error("", 'must be an object with "messages"')
        for key in data.keys() - {*_KEYS, *_OF_REQUESTS}:
            if meant := difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8):
                raise self.error("", f"unknown key {key!r}: write {meant[0]!r}")
        messages = self.messages(data["messages"], "messages")
        if _TRACE_KEY in data and not self.for_trace:
            raise self.error(_TRACE_KEY, "is only for g4 trace")
        return Conversation(
            messages=messages,
            think=self.flag(data, "enable_thinking"),
            max_soft_tokens=self.budget(data, "max_soft_tokens"),
            video_max_frames=self.count(data, "video_max_frames"),
            tools=self.tools(data),
            unified_full_attention_blocks=self.flag(data, _TRACE_KEY),
        )

    def medium_name(self, path: str) -> str:
        return f"{self.name}: {path}"

    def addressed(self, url: str, path: str) -> Source:
        from ..media.urls import is_url

        if is_url(url):
            raise self.error(path, f"is an address, which is not downloaded: save it; {_BY_PATH}")
        raise self.error(path, f"is no data: URL; {_BY_PATH}")

    def other_part(self, kind: str, part: Mapping[str, Any], path: str) -> Part:
        match kind:
            case "image":
                return ImagePart(source=self.page(part, path))
            case "audio":
                return self.sound(part, path)
            case "video" if "frames" in part or "timestamps" in part:
                return self.frames(part, path)
            case "video":
                return VideoPart(source=self.source(part, path))
        raise self.error(f"{path}.type", f"unknown type {kind!r}: use {_KNOWN}")

    def sound(self, part: Mapping[str, Any], path: str) -> AudioPart:
        """A recording, or a part of it."""
        start, end = part.get("start", 0), part.get("end")
        for key, value in (("start", start), ("end", end)):
            if value is not None and (not is_finite_number(value) or value < 0):
                raise self.error(f"{path}.{key}", "must be seconds, 0 or more")
        if end is not None and end <= start:
            raise self.error(f"{path}.end", "must be after the start")
        return AudioPart(
            source=self.source(part, path),
            start=float(start or 0),
            end=None if end is None else float(end),
        )

    def frames(self, part: Mapping[str, Any], path: str) -> VideoPart:
        """A video as frames that are already sampled."""
        if "path" in part:
            raise self.error(path, "give a video either a path or frames, not both")
        frames = self.items(part.get("frames"), f"{path}.frames")
        times = self.items(part.get("timestamps"), f"{path}.timestamps")
        if not frames:
            raise self.error(f"{path}.frames", "is empty: give at least one frame")
        if len(frames) != len(times):
            raise self.error(path, f"has {len(frames)} frames but {len(times)} timestamps")
        for index, seconds in enumerate(times):
            number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
            if not number or not 0 <= seconds <= _LONGEST_VIDEO:
                raise self.error(f"{path}.timestamps[{index}]", "must be seconds, 0 or more")
        return VideoPart(
            frames=tuple(
                self.media_file(frame, f"{path}.frames[{index}]")
                for index, frame in enumerate(frames)
            ),
            timestamps=tuple(float(seconds) for seconds in times),
        )

    def page(self, part: Mapping[str, Any], path: str) -> Source:
        """An image, or the page of it that the part names."""
        page = part.get("page")
        try:
            page = None if page is None else whole(page, path)
        except JsonError as exc:
            problem = "must be the number of a page, 1 or more"
            raise self.error(f"{path}.page", problem) from exc
        return replace(self.source(part, path), page=page)

    def source(self, part: Mapping[str, Any], path: str) -> Source:
        return self.media_file(self.text(part, "path", path), f"{path}.path")

    def media_file(self, value: object, path: str) -> Source:
        """A media file, which errors call by its name in the conversation file."""
        if not isinstance(value, str) or not value:
            raise self.error(path, "must be the path of a file")
        return Source(name=value, path=self.folder / value)

    def flag(self, data: Mapping[str, Any], key: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def count(self, data: Mapping[str, Any], key: str) -> int | None:
        value = data.get(key)
        if value is None:
            return None
        try:
            return whole(value, key)
        except JsonError as exc:
            raise self.error(key, "must be a whole number, 1 or more") from exc

    def budget(self, data: Mapping[str, Any], key: str) -> Budget | None:
        if data.get(key) == "auto":
            return "auto"
        value = self.count(data, key)
        if value is not None and value not in SOFT_TOKEN_BUDGETS:
            budgets = ", ".join(map(str, SOFT_TOKEN_BUDGETS))
            raise self.error(key, f"must be one of {budgets} or auto")
        return value


PathOf = Callable[[Source], str]
"""A media source to its path in the conversation file."""


def conversation_data(conversation: Conversation, path_of: PathOf) -> dict[str, Any]:
    """A conversation as ``parse_conversation`` reads it; ``path_of`` gives a source's path."""
    data: dict[str, Any] = {
        "messages": [_message_data(message, path_of) for message in conversation.messages],
        "enable_thinking": conversation.think,
        "max_soft_tokens": conversation.max_soft_tokens,
        "video_max_frames": conversation.video_max_frames,
    }
    if conversation.tools:
        data["tools"] = list(conversation.tools)
    return data


def _message_data(message: Message, path_of: PathOf) -> dict[str, Any]:
    content = message.content
    calls = [
        {"id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
        for call in message.tool_calls
    ]
    data: dict[str, Any] = {
        "role": message.role,
        "content": content
        if isinstance(content, str)
        else [_part_data(part, path_of) for part in content],
        "reasoning": message.thoughts,
        "tool_calls": calls or None,
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }
    return {key: value for key, value in data.items() if value is not None}


def _part_data(part: Part, path_of: PathOf) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(source=source):
            page = {} if source.page is None else {"page": source.page}
            return {"type": "image", "path": path_of(source), "name": source.name, **page}
        case AudioPart(source=source):
            given = {"start": part.start or None, "end": part.end}
            span = {key: seconds for key, seconds in given.items() if seconds is not None}
            return {"type": "audio", "path": path_of(source), "name": source.name, **span}
        case VideoPart(source=None):
            frames = [path_of(frame) for frame in part.frames]
            return {"type": "video", "frames": frames, "timestamps": list(part.timestamps)}
        case VideoPart(source=Source() as source):
            return {"type": "video", "path": path_of(source), "name": source.name}
    raise AssertionError("every kind of part is handled")
