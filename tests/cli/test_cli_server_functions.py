"""``--server`` with ``--functions``: a server's model calls Python functions of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from cli_runs import g4, records
from support.live_server import serving
from support.scripted import Said, script
from talks import Talk
from test_cli_functions import CODE, SHOWN, WEATHER
from typer.testing import Result

from gemma4cli.api import load
from gemma4cli.cli.chat.functions import function_options
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.run.served_model import served_model
from gemma4cli.conversations.chat import Chat
from gemma4cli.options import GenerateOptions
from gemma4cli.serving.queued_model import QueuedModel

ALLOWED = ("--yes-to", "get_weather")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    model = QueuedModel.alone(lambda: load("tiny"))
    with closing(model.queue), serving(model) as address:
        yield address


@pytest.fixture(autouse=True)
def _file(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(CODE)


LINES: dict[str, tuple[tuple[str, ...], list[list[Said]]]] = {
    "an allowed call": (ALLOWED, [["Let me see.", WEATHER], ["Sunny."]]),
    "one that nobody allowed": ((), [[WEATHER], ["Sorry."]]),
    "an error": (ALLOWED, [[("get_weather", {"city": "Atlantis"})], ["It sank."]]),
    "several calls": (ALLOWED, [[WEATHER, WEATHER], [WEATHER], ["Sunny."]]),
    "rounds that end": ((*ALLOWED, "--max-rounds", "1"), [[WEATHER], ["Sunny."]]),
    "an answer in words": (ALLOWED, [["Sunny."]]),
}


def asked(*args: str) -> Result:
    return g4("chat", "-p", "Weather?", "--functions", "tools.py", *args)


@pytest.mark.slow
@pytest.mark.parametrize("case", LINES)
def test_functions_run_here_as_with_a_model_that_is_loaded(
    case: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, answers = LINES[case]
    prompts = script(monkeypatch, *answers, *answers)
    here = asked("-m", "tiny", *options)
    there = asked("--server", url, *options)
    assert (there.exit_code, there.stdout, there.stderr) == (0, here.stdout, here.stderr)
    assert prompts[: len(answers)] == prompts[len(answers) :]


def test_the_calls_of_a_served_model_are_in_the_json(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [WEATHER], ["Sunny."])
    (record,) = records(asked("--server", url, *ALLOWED, "--json", "-q"))
    assert (record["text"], record["finish_reason"]) == ("Sunny.", "stop")
    (call,) = record["tool_calls"]
    assert (call["name"], call["arguments"]) == WEATHER


def test_a_conversation_with_calls_is_resumed_here_or_there(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = script(monkeypatch, [WEATHER], ["Sunny."], ["Yes."], ["Still."])
    asked("--server", url, *ALLOWED, "--session", "trip", "-q")
    again = ("chat", "-p", "Sure?", "--session", "trip")
    assert g4(*again, "--server", url).stdout == "Yes.\n"
    assert g4(*again, "-m", "tiny").stdout == "Still.\n"
    for earlier, later in pairwise(prompts[1:]):
        assert later.startswith(earlier)
    assert "3 sunny days\nin Paris" in prompts[3]


def test_calls_that_another_program_runs_are_listed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = {"name": "get_weather", "parameters": {"type": "object"}}
    question = {
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": [{"type": "function", "function": function}],
    }
    (tmp_path / "talk.json").write_text(json.dumps(question))
    script(monkeypatch, [WEATHER])
    (record,) = records(g4("chat", "--server", url, "--messages", "talk.json", "--json"))
    assert record["finish_reason"] == "tool_calls"
    assert record["tool_calls"][0]["arguments"] == WEATHER[1]


def test_at_a_terminal_each_call_of_a_served_model_is_asked_about(
    url: str, world: Environment, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.repl.functions = function_options(["tools.py"], [], None)
    assert talk.repl.functions is not None
    talk.repl.options = GenerateOptions()
    talk.repl.chat = Chat(served_model(world, url, None), tools=talk.repl.functions.declarations)
    script(monkeypatch, [WEATHER, WEATHER], ["Sunny."])
    talk.script.answers = [True, False]
    err = talk.say("Weather?", quiet=False)
    assert talk.script.questions == [f"Run {SHOWN}?"] * 2
    assert "get_weather: 3 sunny days in Paris\n" in err
    assert "get_weather: error: the user did not allow this call\n" in err
    assert talk.out == "Sunny.\n"
