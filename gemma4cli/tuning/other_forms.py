"""Conversations as other tuners' data have them, in the form of ``g4 chat --messages``.

{"prompt": "…", "completion": "…"}                     mlx-lm, TRL; also lists of messages
{"conversations": [{"from": "human", "value": "…"}]}   ShareGPT, LLaVA
{"instruction": "…", "input": "…", "output": "…"}      Alpaca
{"messages": […], "images": ["a.png"]}                 TRL, LLaMA-Factory

Media that are listed beside the messages take the places of <image> and of {"type": "image"}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..checked_json import JsonError, shown
from .tables import FILE_FIELDS, TEXT_FIELDS

_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
}
_KINDS = ("image", "audio", "video")
_MARK = re.compile(r"\n?<(image|audio|video)>\n?")
_FORMS = 'write {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", …}]}'
_WITHOUT_ANSWERS = {
    "text": 'has "text", in which no answer can be told from a question',
    "chosen": 'has "chosen" and "rejected", which is learned by comparing',
    "input_ids": 'has "input_ids", tokens of some model',
}
"""What data for other kinds of training have, and why g4 does not learn from it."""


_QUESTIONS = ("prompt", "question", "query", "input", "inputs")
_ANSWERS = ("response", "answer", "output", "target", "targets")
"""Names of a question and of its answer that are too common for their meaning to be certain."""


def as_messages(data: object) -> object:
    """``data`` as a conversation file has it; what is in none of these forms is returned as it is.

    Raises JsonError for a form in which there is something wrong, or of which nothing is learned.
    """
    if not isinstance(data, Mapping):
        return data
    if "conversations" in data:
        found = list(_sharegpt(data["conversations"]))
    elif "instruction" in data:
        found = list(_alpaca(data))
    elif "messages" not in data and "prompt" in data and not _lacks_completion(data):
        found = [*_side(data, "prompt", "user"), *_side(data, "completion", "assistant")]
    elif "messages" in data:
        found = data["messages"]
    else:
        raise _unknown(data)
    if isinstance(data.get("system"), str) and data["system"] and "messages" not in data:
        found = [{"role": "system", "content": data["system"]}, *found]
    media = _media(data)
    others = {key: value for key, value in data.items() if key not in _READ}
    return {**others, "messages": media.placed(found) if isinstance(found, list) else found}


def _lacks_completion(data: Mapping[str, Any]) -> bool:
    """Whether a prompt's answer has another name. A prompt alone can be one to keep."""
    return "completion" not in data and any(key in data for key in ("chosen", *_ANSWERS))


def _unknown(data: Mapping[str, Any]) -> JsonError:
    """Why a line is in no form, and what to write."""
    if any(key in data for key in FILE_FIELDS) and any(key in data for key in TEXT_FIELDS):
        return JsonError("is a row about a file: name the folder that has metadata.jsonl")
    for key, problem in _WITHOUT_ANSWERS.items():
        if key in data:
            return JsonError(f"{problem}: {_FORMS}")
    question = next((key for key in _QUESTIONS if key in data), None)
    answer = next((key for key in _ANSWERS if key in data), None)
    if question and answer:
        return JsonError(
            f'has "{question}" and "{answer}": call them "prompt" and "completion", or {_FORMS}'
        )
    return JsonError(f'must be an object with "messages": {_FORMS}')


_READ = (
    *("messages", "conversations", "instruction", "input", "output", "history", "prompt"),
    *("completion", "system", *_KINDS, *(f"{kind}s" for kind in _KINDS)),
)


def _sharegpt(turns: object) -> Iterator[dict[str, Any]]:
    if not isinstance(turns, list):
        raise JsonError("must be a list", "conversations")
    for number, turn in enumerate(turns):
        place = f"conversations[{number}]"
        if not isinstance(turn, dict):
            raise JsonError("must be an object", place)
        if "role" in turn:  # OpenAI's messages under ShareGPT's name
            yield turn
            continue
        speaker, text = turn.get("from"), turn.get("value")
        if not isinstance(speaker, str) or speaker not in _SPEAKERS:
            known = ", ".join(_SPEAKERS)
            raise JsonError(
                f"{shown(speaker)} is none of {known}: for calls of functions {_FORMS}",
                f"{place}.from",
            )
        if not isinstance(text, str):
            raise JsonError("must be a text", f"{place}.value")
        yield {"role": _SPEAKERS[speaker], "content": text}


def _alpaca(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, pair in enumerate(data.get("history") or ()):
        if not isinstance(pair, list) or len(pair) != 2:
            raise JsonError("must be a question and its answer", f"history[{number}]")
        yield from _pair(*pair)
    question = "\n".join(
        each for key in ("instruction", "input") if (each := _text(data, key, optional=True))
    )
    yield {"role": "user", "content": question}
    if "output" in data:
        yield {"role": "assistant", "content": _text(data, "output")}


def _pair(question: object, answer: object) -> Iterator[dict[str, Any]]:
    yield {"role": "user", "content": question}
    yield {"role": "assistant", "content": answer}


def _side(data: Mapping[str, Any], key: str, role: str) -> Sequence[dict[str, Any]]:
    """TRL's prompt or completion, a text or messages; a prompt alone has no completion."""
    if key == "completion" and key not in data:
        return ()
    value = data[key]
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _text(data: Mapping[str, Any], key: str, *, optional: bool = False) -> str:
    value = data.get(key)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise JsonError("must be a text", key)
    return value


class _Media:
    """The media that a line lists beside its messages, each of which is placed once."""

    def __init__(self, files: Mapping[str, list[str]]) -> None:
        self._left = {kind: list(each) for kind, each in files.items()}
        self._any = any(files.values())

    def placed(self, messages: list[Any]) -> list[Any]:
        if not self._any:
            return messages
        found = [self._in_message(each) for each in messages]
        for kind, left in self._left.items():
            if left:
                raise JsonError(
                    f"{shown(left[0])} has no place: each needs <{kind}> in a text, or a part "
                    f'{{"type": "{kind}"}}',
                    f"{kind}s",
                )
        return found

    def _in_message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return message
        content = message.get("content")
        if isinstance(content, str) and message.get("role") == "user":
            content = list(self._in_text(content))
        elif isinstance(content, list):
            content = [self._in_part(each) for each in content]
        return {**message, "content": content}

    def _in_text(self, text: str) -> Iterator[dict[str, Any]]:
        end = 0
        for mark in _MARK.finditer(text):
            if before := text[end : mark.start()]:
                yield {"type": "text", "text": before}
            yield self._next(mark[1])
            end = mark.end()
        if rest := text[end:]:
            yield {"type": "text", "text": rest}

    def _in_part(self, part: Any) -> Any:
        is_empty = isinstance(part, dict) and part.keys() == {"type"}
        return self._next(part["type"]) if is_empty and part["type"] in _KINDS else part

    def _next(self, kind: str) -> dict[str, Any]:
        left = self._left[kind]
        if not left:
            raise JsonError(f"the messages name more of them than {kind}s has", f"{kind}s")
        return {"type": kind, "path": left.pop(0)}


def _media(data: Mapping[str, Any]) -> _Media:
    files: dict[str, list[str]] = {}
    for kind in _KINDS:
        given = data.get(f"{kind}s", data.get(kind))
        listed = [] if given is None else given if isinstance(given, list) else [given]
        paths: list[Any] = [each["path"] if _has_path(each) else each for each in listed]
        if not all(isinstance(each, str) for each in paths):
            raise JsonError("must be paths of files", f"{kind}s")
        files[kind] = paths
    return _Media(files)


def _has_path(value: object) -> bool:
    """Whether it is Hugging Face's {"path": …, "bytes": null}."""
    return isinstance(value, dict) and bool(value.get("path"))
