"""What reads input that no command line reaches: the calls in an answer, what g4s send each other.

    probe calls FILE        ids of an answer, as JSON
    probe prompts FILE      the body of a request, and so on for the other parts of ``wire``

A probe ends as a command does: with 0, or with 3 and an error on one line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gemma4cli import api
from gemma4cli.checked_json import JsonError
from gemma4cli.engine.channels import ChannelSplitter
from gemma4cli.errors import Gemma4Error
from gemma4cli.events import TextDelta, ToolCallDelta, ToolCallFinished
from gemma4cli.wire.answers import read_line
from gemma4cli.wire.model_facts import read_facts, read_protocol
from gemma4cli.wire.requests import PromptLimits, read_ids, read_options, read_prompts, read_texts

PROBE = "probe"
"""What a case's arguments begin with that are of a probe."""

PROMPTS, IDS, TEXTS, OPTIONS, FACTS, LINES = "prompts", "ids", "texts", "options", "facts", "lines"
"""The parts of ``wire``; seeds are called so."""


def probed(name: str, file: str) -> int:
    """Run a probe on a file; the status it ends with."""
    try:
        _PROBES[name](Path(file).read_bytes())
    except (JsonError, Gemma4Error) as error:
        said = str(error)
        assert said and "\n" not in said, f"an error is one line, not {said!r}"
        sys.stderr.write(f"g4: {said.encode(errors='backslashreplace').decode()}\n")
        return 3
    return 0


def _calls(content: bytes) -> None:
    """Everything in an answer is text or a call, however calls are written."""
    splitter = ChannelSplitter(api.load("tiny").tokenizer, [2, 3], reads_calls=True)
    parts: dict[str, list[str]] = {}
    texts: list[str] = []
    finished = 0

    def take(event: object) -> None:
        nonlocal finished
        match event:
            case TextDelta(text=text):
                texts.append(text)
            case ToolCallDelta(id=call, arguments=arguments):
                parts.setdefault(call, []).append(arguments)
            case ToolCallFinished(call=call):
                finished += 1
                assert json.loads("".join(parts[str(call.id)])) == call.arguments

    for token in json.loads(content):
        for event in splitter.push(token):
            take(event)
    for event in splitter.finish():
        take(event)
    assert "".join(texts) == splitter.text
    assert finished == len(splitter.calls)


def _prompts(body: bytes) -> None:
    model = api.load("tiny")
    limits = PromptLimits(
        processor=model.processor, vocabulary=model.tokenizer.rows, context=model.context_length
    )
    for prompt in read_prompts(body, limits):
        assert max(prompt.inputs.ids) < limits.vocabulary
        assert len(prompt.inputs.spans) == len(prompt.inputs.features)


def _facts(body: bytes) -> None:
    read_protocol(body)
    assert read_facts(body).processor_config is not None


def _lines(content: bytes) -> None:
    for line in content.splitlines(keepends=True):
        read_line(line, 2)


_PROBES: Mapping[str, Callable[[bytes], object]] = {
    "calls": _calls,
    PROMPTS: _prompts,
    IDS: lambda body: read_ids(body, 2),
    TEXTS: lambda body: read_texts(body, 1000),
    OPTIONS: read_options,
    FACTS: _facts,
    LINES: _lines,
}
