"""The plugin, through the program llm and its Python interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli
from llm.plugins import load_plugins, pm

from gemma4cli import api, llm_plugin
from gemma4cli.engine.local import LocalModel
from gemma4cli.events import Event, Finished, TextDelta, Timings, Usage
from gemma4cli.messages import ToolCall
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

SCENE = Path(__file__).parent.parent / "fixtures" / "scene.png"
QUESTION = "Describe this image."
GREEDY = GenerateOptions(temperature=0, max_tokens=40)
OPTIONS = {"temperature": 0, "max_tokens": 40}


@pytest.fixture(autouse=True)
def registered(tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """llm with the plugin, even if this g4 was installed before it had one."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setattr(api, "load", lambda name: tiny)
    load_plugins()
    installed = pm.is_registered(llm_plugin)
    if not installed:
        pm.register(llm_plugin)
    yield
    if not installed:
        pm.unregister(llm_plugin)


def of(tiny: LocalModel, question: str, options: GenerateOptions = GREEDY) -> str:
    return api.generate(tiny, question, images=[SCENE], options=options)


def test_the_models_of_this_machine_are_listed() -> None:
    names = {model.model_id for model in llm.get_models()}
    assert {f"g4/{entry.name}" for entry in api.list_models()} <= names


def test_an_attachment_is_seen_as_by_g4_itself(tiny: LocalModel) -> None:
    attachment = llm.Attachment(path=str(SCENE))
    response = llm.get_model("g4/tiny").prompt(QUESTION, attachments=[attachment], **OPTIONS)
    chunks = list(response)
    assert "".join(chunks) == of(tiny, QUESTION) != ""
    assert len(chunks) > 1
    assert response.usage().output == len(tiny.processor.tokenizer.encode("".join(chunks)))


def test_an_attachment_may_be_bytes_and_an_answer_whole(tiny: LocalModel) -> None:
    attachment = llm.Attachment(content=SCENE.read_bytes())
    response = llm.get_model("g4/tiny").prompt(
        QUESTION, attachments=[attachment], stream=False, **OPTIONS
    )
    assert list(response) == [of(tiny, QUESTION)]


def test_a_conversation_continues(tiny: LocalModel) -> None:
    conversation = llm.get_model("g4/tiny").conversation()
    attachment = llm.Attachment(path=str(SCENE))
    conversation.prompt(QUESTION, attachments=[attachment], **OPTIONS).text()
    second = conversation.prompt("Hello", **OPTIONS)
    first_only = llm.get_model("g4/tiny").prompt("Hello", **OPTIONS)
    second.text(), first_only.text()
    assert second.usage().input > first_only.usage().input


def test_an_answer_by_a_schema_is_json() -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}},
        "required": ["color"],
    }
    response = llm.get_model("g4/tiny").prompt("Which color?", schema=schema, **OPTIONS)
    assert json.loads(response.text())["color"] in ("red", "blue")


def test_the_command_line_of_llm_answers(tiny: LocalModel) -> None:
    arguments = ["-m", "g4/tiny", QUESTION, "-a", str(SCENE), "--no-log"]
    settings = [part for name, value in OPTIONS.items() for part in ("-o", name, str(value))]
    result = CliRunner().invoke(cli, [*arguments, *settings], catch_exceptions=False)
    assert result.output.strip() == of(tiny, QUESTION)


def test_an_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    arguments = ["-m", "g4/tiny", QUESTION, "-a", str(tmp_path / "odd.png"), "--no-log"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code != 0
    assert "odd.png" in result.output and len(result.output.strip().splitlines()) == 1


def test_functions_are_declared_and_their_results_come_back(
    monkeypatch: pytest.MonkeyPatch, tiny: LocalModel
) -> None:
    """llm calls the function between two prompts; the model of the test answers by script."""
    answers = iter(
        [
            answer("", ToolCall(name="double", arguments={"number": 21}, id="call_0")),
            answer("It is 42."),
        ]
    )
    prompts: list[str] = []

    def scripted(self: LocalModel, inputs: ModelInputs, *rest: object) -> Iterator[Event]:
        prompts.append(inputs.text)
        finished = next(answers)
        yield TextDelta(text=finished.text)
        yield finished

    monkeypatch.setattr(LocalModel, "generate", scripted)

    def double(number: int) -> int:
        """Twice a number."""
        return 2 * number

    chain = llm.get_model("g4/tiny").chain("Twice 21?", tools=[double])
    assert chain.text() == "It is 42."
    first, second = prompts
    assert "declaration:double{description:" in first and "Twice a number." in first
    assert "call:double{number:21}" in second
    assert "response:double" in second and "42" in second.partition("response:double")[2]


def answer(text: str, *calls: ToolCall) -> Finished:
    return Finished(
        reason="tool_calls" if calls else "stop",
        text=text,
        thoughts="",
        token_ids=(1,),
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        timings=Timings(),
        tool_calls=calls,
    )
