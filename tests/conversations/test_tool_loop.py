"""Conversations with functions: the model calls them, hears what they gave, and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.scripted import script

from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.file import Conversation, conversation_data, parse_conversation
from gemma4cli.conversations.functions import Function, function_of
from gemma4cli.conversations.tool_loop import Tools, run_tools
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Event, Finished, TextDelta, ToolCallFinished, ToolResult
from gemma4cli.messages import ToolCall
from gemma4cli.options import GenerateOptions

THOUGHT = ("<|channel>", "thought\nhm\n", "<channel|>")
WEATHER = ("get_weather", {"city": "Paris"})


def get_weather(city: str, days: int = 1) -> object:
    """The weather."""
    if city == "Atlantis":
        raise ValueError("sunk")
    return {"city": city, "days": days}


def tools(allow: Any = lambda call: True, **options: Any) -> Tools:
    return Tools(functions=[function_of(get_weather)], allow=allow, **options)


def chat_with(model: LoadedModel, functions: Sequence[Function]) -> Chat:
    return Chat(model, tools=[each.declaration for each in functions])


def ask(
    model: LoadedModel,
    given: Tools,
    options: GenerateOptions | None = None,
    chat: Chat | None = None,
) -> tuple[Chat, list[Event], Finished]:
    chat = chat or chat_with(model, given.functions)
    options = options or GenerateOptions()
    *events, last = run_tools(chat, chat.send("Weather?", options), options, given)
    assert isinstance(last, Finished)
    return chat, events, last


def messages(chat: Chat) -> list[tuple[object, ...]]:
    """Role, text, thoughts and names of calls of each message."""
    return [
        (each.role, each.content, each.thoughts, [call.name for call in each.tool_calls])
        for each in chat.history
    ]


def test_a_function_is_run_and_the_model_answers_with_its_result(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = script(monkeypatch, [WEATHER], ["Sunny."])
    chat, events, last = ask(tiny, tools())
    assert (last.reason, last.text) == ("stop", "Sunny.")
    assert [call.name for call in last.tool_calls] == ["get_weather"]
    result = '{"city": "Paris", "days": 1}'
    assert [each.text for each in events if isinstance(each, ToolResult)] == [result]
    assert prompts[1].endswith(
        'model\n<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'
        f'<|tool_response>response:get_weather{{value:<|"|>{result}<|"|>}}<tool_response|>'
    )
    assert messages(chat) == [
        ("user", "Weather?", None, []),
        ("assistant", "", None, ["get_weather"]),
        ("tool", result, None, []),
        ("assistant", "Sunny.", None, []),
    ]
    assert last.usage.completion_tokens == len(last.token_ids)


def test_the_second_round_continues_where_the_first_ended(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompt repeats the answer, thoughts included, so only the result is computed."""
    prompts = script(monkeypatch, [*THOUGHT, WEATHER], ["so", "<channel|>", "Sunny."], ["Yes."])
    options = GenerateOptions(think=True)
    chat = chat_with(tiny, tools().functions)
    *_, first = chat.send("Weather?", options)
    assert isinstance(first, Finished)
    assert (first.reason, first.thoughts, first.text) == ("tool_calls", "hm\n", "")
    chat.add_result(first.tool_calls[0], "21")
    *_, second = chat.reply(options)
    assert isinstance(second, Finished)
    assert second.usage.cached_tokens == first.usage.prompt_tokens + len(first.token_ids)
    assert (second.thoughts, second.text) == ("so", "Sunny.")
    assert "<|channel>thought\nhm\n<channel|><|tool_call>" in prompts[1]
    assert prompts[1].endswith("<tool_response|><|channel>thought\n")
    list(chat.send("Sure?", options))
    assert "hm" not in prompts[2]


def test_text_before_a_call_stays_before_it(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = script(monkeypatch, [*THOUGHT, "Let me see.", WEATHER], ["Sunny."])
    chat, events, last = ask(tiny, tools())
    assert last.text == "Let me see.\n\nSunny."
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == last.text
    assert "thought\nhm\n<channel|>Let me see.<|tool_call>" in prompts[1]
    assert messages(chat)[1:3] == [
        ("assistant", "Let me see.", "hm", []),
        ("assistant", "", None, ["get_weather"]),
    ]


def test_several_calls_have_their_results_in_order(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [("get_weather", {"city": city}) for city in ("Paris", "Atlantis")]
    prompts = script(monkeypatch, calls, ["One is sunk."])
    _, events, _ = ask(tiny, tools())
    results = [each for each in events if isinstance(each, ToolResult)]
    assert [(each.text, each.failed) for each in results] == [
        ('{"city": "Paris", "days": 1}', False),
        ("error: ValueError: sunk", True),
    ]
    assert prompts[1].count("<|tool_response>response:get_weather") == 2
    assert len({each.call.id for each in results}) == 2


def test_the_model_is_told_that_a_call_was_not_allowed_or_not_possible(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER], ["Well."])
    _, events, _ = ask(tiny, tools(allow=lambda call: False))
    (result,) = [each for each in events if isinstance(each, ToolResult)]
    assert (result.failed, result.text) == (True, "error: the user did not allow this call")
    given = tools()
    unknown = given.result(ToolCall(name="now", arguments={}))
    assert unknown.text == "error: there is no now, only get_weather"
    odd = given.result(ToolCall(name="get_weather", arguments={"town": 1}))
    assert odd.failed
    assert "town" in odd.text or "city" in odd.text


def test_after_the_last_round_the_model_must_answer_in_words(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER], [WEATHER], [WEATHER])
    with pytest.raises(AssertionError, match="does not allow"):
        ask(tiny, tools(most_rounds=2))
    script(monkeypatch, [WEATHER], [WEATHER], ["Sunny."])
    _, _, last = ask(tiny, tools(most_rounds=2))
    assert (last.reason, len(last.tool_calls)) == ("stop", 2)


def test_a_required_call_is_required_once(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER], ["Sunny."])
    given = tools()
    chat = chat_with(tiny, given.functions)
    declared = json.dumps([each.declaration for each in given.functions])
    options = GenerateOptions(tools=declared, tool_choice="required")
    _, _, last = ask(tiny, given, options, chat)
    assert last.text == "Sunny."


def test_a_stopped_call_has_a_result_so_that_the_conversation_goes_on(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER, WEATHER], ["Fine."])

    def stop(call: ToolCall) -> bool:
        raise KeyboardInterrupt

    given = tools(allow=stop)
    chat = chat_with(tiny, given.functions)
    with pytest.raises(KeyboardInterrupt):
        ask(tiny, given, chat=chat)
    assert [each.role for each in chat.history] == ["user", "assistant", "tool", "tool"]
    *_, last = chat.send("And now?")
    assert isinstance(last, Finished)
    assert last.text == "Fine."


def test_a_call_that_max_tokens_cut_off_is_not_run(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER])
    chat, events, last = ask(tiny, tools(), GenerateOptions(max_tokens=8))
    assert last.reason == "length"
    assert last.text.startswith("<|tool_call>call:get_w")
    assert not [each for each in events if isinstance(each, ToolCallFinished | ToolResult)]
    assert messages(chat)[1] == ("assistant", last.text, None, [])


def test_calls_and_results_are_read_as_they_were_written(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, ["So:", ("get_weather", {"city": 'a "b"\n}', "days": 2})], ["Sunny."])
    chat, _, _ = ask(tiny, tools())
    written = Conversation(messages=chat.history, tools=chat.tools)
    data = json.loads(json.dumps(conversation_data(written, lambda source: source.name)))
    read = parse_conversation(data, folder=Path(), name="c.json")
    assert read.messages == chat.history
    assert read.tools == chat.tools


def test_an_answer_that_is_closed_in_a_later_round_keeps_the_results(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER], ["Sunny all day."])
    given = tools()
    chat = chat_with(tiny, given.functions)
    options = GenerateOptions()
    events: Iterator[Event] = run_tools(chat, chat.send("Weather?", options), options, given)
    for event in events:
        if isinstance(event, TextDelta):
            break
    events.close()  # type: ignore[attr-defined]
    assert [each.role for each in chat.history] == ["user", "assistant", "tool", "assistant"]
