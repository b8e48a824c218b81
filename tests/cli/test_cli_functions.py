"""``g4 chat --functions``: the model calls Python functions, as far as the user allows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runs import assert_fails, g4, records
from support.scripted import script
from talks import Talk

from gemma4cli.cli.chat.functions import function_options
from gemma4cli.options import GenerateOptions

CODE = '''
def get_weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    print("looking", city)
    if city == "Atlantis":
        raise ValueError("sunk")
    return f"{days} sunny days\\nin {city}"
'''
WEATHER = ("get_weather", {"city": "Paris", "days": 3})
SHOWN = 'get_weather(city="Paris", days=3)'
LINE = ("chat", "-m", "tiny", "-p", "Weather?", "--functions", "tools.py")


@pytest.fixture(autouse=True)
def _file(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(CODE)


def test_a_function_that_the_user_allows_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = script(monkeypatch, ["Let me see.", WEATHER], ["Sunny."])
    result = g4(*LINE, "--yes-to", "get_weather")
    assert result.stdout == "Let me see.\n\nSunny.\n"
    assert result.stderr == (
        f"running {SHOWN}\nlooking Paris\nget_weather: 3 sunny days in Paris\n"
    )
    assert 'declaration:get_weather{description:<|"|>The weather in a city.<|"|>' in prompts[0]
    assert "3 sunny days\nin Paris" in prompts[1]


def test_without_a_terminal_nothing_runs_that_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = script(monkeypatch, [WEATHER], ["Sorry."])
    result = g4(*LINE, "-q")
    assert result.stdout == "Sorry.\n"
    assert result.stderr == f"not run: {SHOWN}; --yes-to get_weather allows it\n"
    assert "error: the user did not allow this call" in prompts[1]


def test_json_lists_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [WEATHER], ["Sunny."])
    result = g4(*LINE, "--yes-to", "get_weather", "--json", "-q")
    (record,) = records(result)
    assert record["text"] == "Sunny."
    assert record["finish_reason"] == "stop"
    (call,) = record["tool_calls"]
    assert (call["name"], call["arguments"]) == WEATHER
    assert call["id"].startswith("call_")


def test_an_error_of_a_function_is_told_to_the_model_and_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = script(monkeypatch, [("get_weather", {"city": "Atlantis"})], ["It sank."])
    result = g4(*LINE, "--yes-to", "get_weather")
    assert result.stdout == "It sank.\n"
    assert "get_weather: error: ValueError: sunk\n" in result.stderr
    assert '{value:<|"|>error: ValueError: sunk<|"|>}' in prompts[1]


def test_rounds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [WEATHER], ["Sunny."])
    result = g4(*LINE, "--yes-to", "get_weather", "--max-rounds", "1", "-q")
    assert result.stdout == "Sunny.\n"


def test_a_saved_conversation_keeps_calls_and_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*LINE, "--yes-to", "get_weather", "--session", "trip", "-q"]
    prompts = script(monkeypatch, [WEATHER], ["Sunny."], ["Yes."])
    g4(*line)
    assert g4("chat", "-m", "tiny", "-p", "Sure?", "--session", "trip").stdout == "Yes.\n"
    assert prompts[2].startswith(prompts[1])
    assert "<tool_response|>Sunny.<turn|>\n<|turn>user\nSure?" in prompts[2]


def test_a_file_with_tools_and_no_functions_says_what_the_model_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that runs calls itself reads them from the JSON."""
    function = {"name": "get_weather", "parameters": {"type": "object"}}
    question: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": [{"type": "function", "function": function}],
    }
    (tmp_path / "talk.json").write_text(json.dumps(question))
    script(monkeypatch, [WEATHER], [WEATHER])
    result = g4("chat", "-m", "tiny", "--messages", "talk.json")
    assert result.stderr == "the model calls get_weather and waits; --functions runs calls\n"
    (record,) = records(g4("chat", "-m", "tiny", "--messages", "talk.json", "--json"))
    assert record["finish_reason"] == "tool_calls"
    assert record["tool_calls"][0]["arguments"] == WEATHER[1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("-p", "Hi", "--yes-to", "f"), 2, "--yes-to and --max-rounds are for --functions"),
        (("-p", "Hi", "--max-rounds", "2"), 2, "--yes-to and --max-rounds are for --functions"),
        ((*LINE[3:], "--yes-to", "f"), 2, "--yes-to f: the functions are get_weather"),
        ((*LINE[3:], "--functions", "tools.py"), 2, "two files define get_weather"),
        (("-p", "Hi", "--functions", "none.py"), 3, "none.py: no such file"),
        (("-p", "Hi", "--functions", "bad.py"), 3, "bad.py: line 1: NameError: name 'x'"),
    ],
)
def test_functions_that_cannot_be_used_are_an_error(
    tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    (tmp_path / "bad.py").write_text("x")
    assert_fails(g4("chat", "-m", "tiny", *arguments), status, message)


def test_at_a_terminal_each_call_is_asked_about(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.repl.functions = function_options(["tools.py"], [], None)
    assert talk.repl.functions is not None
    talk.repl.options = GenerateOptions()
    talk.chat.tools = talk.repl.functions.declarations
    script(monkeypatch, [WEATHER, WEATHER], ["Sunny."], ["Rainy."])
    talk.script.answers = [True, False]
    err = talk.say("Weather?", "/retry", quiet=False)
    assert talk.script.questions == [f"Run {SHOWN}?"] * 2
    assert "get_weather: 3 sunny days in Paris\n" in err
    assert "get_weather: error: the user did not allow this call\n" in err
    assert talk.out == "Sunny.\nRainy.\n"
    assert talk.roles == ["user", "assistant", "tool", "tool", "assistant"]
    read = talk.repl.autosave.read()
    assert read is not None
    assert [each.role for each in read.messages] == talk.roles
    assert [call.name for call in read.messages[1].tool_calls] == ["get_weather"] * 2
