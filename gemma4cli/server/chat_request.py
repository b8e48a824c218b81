"""A request of /v1/chat/completions: its JSON to messages and options.

Fields that g4 does not know are ignored, as by other servers of this API. Those that it knows and
cannot do are refused where they would change the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from ..checked_json import shown
from ..messages import Message
from ..options import (
    MOST_LOGPROBS,
    SOFT_TOKEN_BUDGETS,
    GenerateOptions,
    MediaOptions,
    TokenBias,
    ToolChoice,
)
from .request_fields import RequestReader
from .served import ServerOptions

_ANY_OBJECT = '{"type": "object"}'
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_NO_THOUGHTS = ("none", "minimal")
_MOST_ANSWERS = 16
_MOST_STOPS = 4
_LONGEST_STOP = 1000
_MOST_BIASES = 1024
_MOST_BIAS = 100.0
_LEAST_TOP_P = 1e-6
"""Greedy, which some clients ask for by 0."""
_HOTTEST = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """What a client asks for.

    Attributes:
        model: The name that it gives the model, if it does.
        messages: The conversation to answer.
        options: How the answer is generated.
        media: How its media are sampled.
        tools: The functions that the prompt declares.
        count: How many answers are given.
        stream: Whether the answer is sent as it comes.
        include_usage: Whether a stream ends with the number of tokens.
    """

    model: str | None
    messages: tuple[Message, ...]
    options: GenerateOptions
    media: MediaOptions
    tools: tuple[Mapping[str, Any], ...]
    count: int
    stream: bool
    include_usage: bool


def chat_request(data: dict[str, Any], server: ServerOptions) -> ChatRequest:
    """The request in a body's JSON. Raises RequestError and OptionError."""
    reader = RequestReader(media_urls=server.media_urls)
    _refuse_what_cannot_be_done(reader, data)
    stream = bool(reader.flag(data, "stream"))
    stream_options = reader.fields(data, "stream_options")
    return ChatRequest(
        model=reader.string(data, "model"),
        messages=reader.messages(data.get("messages"), "messages"),
        options=with_calls(reader, data, generate_options(reader, data, server.generate)),
        media=_media(reader, data, server.media),
        tools=reader.tools(data),
        count=reader.count(data, "n", most=_MOST_ANSWERS) or 1,
        stream=stream,
        include_usage=bool(reader.flag(stream_options, "include_usage", "stream_options.")),
    )


def generate_options(
    reader: RequestReader, data: dict[str, Any], defaults: GenerateOptions
) -> GenerateOptions:
    """How the answer is generated; ``defaults`` for what the request leaves open."""
    schema = _schema(reader, data)
    most = reader.count(data, "max_completion_tokens") or reader.count(data, "max_tokens")
    temperature = reader.number(data, "temperature", least=0, most=_HOTTEST)
    top_p = reader.number(data, "top_p", least=0, most=1)
    top_k = reader.count(data, "top_k", least=-1)
    effort = reader.choice(data, "reasoning_effort", *_EFFORTS)
    template = reader.fields(data, "chat_template_kwargs")
    think = reader.flag(template, "enable_thinking", "chat_template_kwargs.")
    if effort is not None:
        think = effort not in _NO_THOUGHTS
    elif think is None:
        think = defaults.think
    return replace(
        defaults,
        max_tokens=most or defaults.max_tokens,
        temperature=defaults.temperature if temperature is None else temperature,
        top_p=defaults.top_p if top_p is None else max(top_p, _LEAST_TOP_P),
        top_k=defaults.top_k if top_k is None else max(top_k, 0),
        seed=_seed(reader, data, defaults.seed),
        think=think and schema is None,
        schema=schema,
        stop=_stop(reader, data),
        logprobs=_logprobs(reader, data),
        logit_bias=_logit_bias(reader, data),
    )


def _media(reader: RequestReader, data: Mapping[str, Any], defaults: MediaOptions) -> MediaOptions:
    """How media are sampled: fields of g4's own, as in the file of a conversation."""
    budget = data.get("max_soft_tokens")
    if budget is not None and budget != "auto":
        budget = reader.count(data, "max_soft_tokens")
        if budget not in SOFT_TOKEN_BUDGETS:
            known = ", ".join(map(str, SOFT_TOKEN_BUDGETS))
            raise reader.error("max_soft_tokens", f"must be one of {known} or auto")
    frames = reader.count(data, "video_max_frames")
    return replace(
        defaults,
        budget=defaults.budget if budget is None else budget,
        video_max_frames=frames or defaults.video_max_frames,
    )


def _seed(reader: RequestReader, data: Mapping[str, Any], default: int | None) -> int | None:
    """Any 64-bit number; -1 is any seed, as for other local servers."""
    seed = reader.count(data, "seed", least=-(2**63), most=2**64 - 1)
    if seed is None:
        return default
    return None if seed == -1 else seed % 2**64


def _stop(reader: RequestReader, data: Mapping[str, Any]) -> tuple[str, ...]:
    given = data.get("stop")
    texts = [given] if isinstance(given, str) else reader.optional_items(data, "stop", "")
    if len(texts) > _MOST_STOPS:
        raise reader.error("stop", f"has {len(texts)} texts; the most are {_MOST_STOPS}")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_STOP:
            problem = f"must be a text of 1 to {_LONGEST_STOP:,} characters"
            raise reader.error("stop" if texts == [given] else f"stop[{index}]", problem)
    return tuple(dict.fromkeys(texts))


def _schema(reader: RequestReader, data: Mapping[str, Any]) -> str | None:
    """The JSON Schema that the answer must match, if it must be JSON."""
    wanted = reader.fields(data, "response_format")
    if not wanted:
        return None
    match reader.text(wanted, "type", "response_format"):
        case "text":
            return None
        case "json_object":
            return _ANY_OBJECT
        case "json_schema":
            place = "response_format.json_schema"
            held = reader.mapping(wanted.get("json_schema"), place)
            return json.dumps(reader.mapping(held.get("schema"), f"{place}.schema"))
        case other:
            known = "text, json_object or json_schema"
            raise reader.error("response_format.type", f"must be {known}, not {shown(other)}")


def with_calls(
    reader: RequestReader, data: Mapping[str, Any], options: GenerateOptions
) -> GenerateOptions:
    """The options with the functions that the answer may call, or must."""
    tools = reader.tools(data)
    choice = data.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        place = "tool_choice.allowed_tools"
        allowed = reader.mapping(choice.get("allowed_tools"), place)
        tools = tuple(
            _named(reader, each, tools, f"{place}.tools[{index}]")
            for index, each in enumerate(reader.items(allowed.get("tools"), f"{place}.tools"))
        )
        choice = allowed.get("mode", "auto")
    elif isinstance(choice, dict):
        tools, choice = (_named(reader, choice, tools, "tool_choice"),), "required"
    if choice not in (None, *get_args(ToolChoice)):
        known = f"{', '.join(get_args(ToolChoice))} or a function"
        raise reader.error("tool_choice", f"must be {known}, not {shown(choice)}")
    if not tools:
        if choice == "required":
            raise reader.error("tool_choice", "requires a call, but there are no tools")
        return options
    parallel = reader.flag(data, "parallel_tool_calls")
    return replace(
        options,
        tools=json.dumps(tools),
        tool_choice=cast(ToolChoice, choice or "auto"),
        parallel_calls=parallel is not False,
    )


def _named(
    reader: RequestReader, choice: object, tools: Sequence[Mapping[str, Any]], path: str
) -> Mapping[str, Any]:
    """The function that a choice names."""
    path = f"{path}.function"
    function = reader.mapping(reader.mapping(choice, path).get("function"), path)
    name = reader.text(function, "name", path)
    for tool in tools:
        if tool["function"]["name"] == name:
            return tool
    raise reader.error(f"{path}.name", f"there is no function {shown(name)}")


def _logprobs(reader: RequestReader, data: Mapping[str, Any]) -> int | None:
    """How many of the likeliest tokens are to be named, if probabilities are wanted at all."""
    most = reader.count(data, "top_logprobs", least=0, most=MOST_LOGPROBS)
    if reader.flag(data, "logprobs"):
        return most or 0
    if most:
        raise reader.error("top_logprobs", "needs logprobs to be true")
    return None


def _logit_bias(reader: RequestReader, data: Mapping[str, Any]) -> tuple[TokenBias, ...]:
    """Biases by the ids of tokens, which are texts in JSON."""
    given = reader.fields(data, "logit_bias")
    if len(given) > _MOST_BIASES:
        raise reader.error("logit_bias", f"has {len(given):,} tokens; the most are {_MOST_BIASES}")
    found = {}
    for key in given:
        if not re.fullmatch("[0-9]{1,9}", key):
            raise reader.error("logit_bias", f"must have ids of tokens as keys, not {shown(key)}")
        bias = reader.number(given, key, "logit_bias.", least=-_MOST_BIAS, most=_MOST_BIAS)
        found[int(key)] = bias or 0.0
    return tuple(TokenBias(token=token, bias=bias) for token, bias in found.items() if bias)


def _refuse_what_cannot_be_done(reader: RequestReader, data: Mapping[str, Any]) -> None:
    """Raise RequestError for what would make another answer if it were ignored."""
    if "audio" in reader.optional_items(data, "modalities", ""):
        raise reader.error("modalities", "must be text alone: the model does not speak")
    if reader.optional_items(data, "functions", ""):
        raise reader.error("functions", "are not taken: declare them as tools")
