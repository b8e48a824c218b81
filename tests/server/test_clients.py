"""Programs that others wrote, as clients of a server that listens."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from click.testing import CliRunner
from llm.cli import cli
from pydantic import BaseModel
from scripted_queue import Scripted, finished
from support.live_server import serving
from support.samples import sample

from gemma4cli import api
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import QueueFullError
from gemma4cli.events import TextDelta
from gemma4cli.options import GenerateOptions
from gemma4cli.serving.queued_model import QueuedModel
from gemma4cli.serving.request import AnswerStream

SCENE = Path(__file__).parents[2] / "fixtures" / "scene.png"
SECONDS = 60
GREEDY: dict[str, Any] = {"model": "default", "temperature": 0, "max_tokens": 12}
HELLO: dict[str, Any] = {**GREEDY, "messages": [{"role": "user", "content": "Hello"}]}
TOKEN = "secret"


@pytest.fixture(scope="module")
def url(queued: QueuedModel) -> Iterator[str]:
    with serving(queued, token=TOKEN) as address:
        yield f"{address}/v1"


def client_of(url: str, key: str = TOKEN, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, timeout=SECONDS, **options)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with client_of(url, max_retries=0) as found:
        yield found


def expected(tiny: LocalModel, question: str, **media: Any) -> str:
    options = GenerateOptions(temperature=0, max_tokens=12)
    return api.generate(tiny, question, options=options, **media)


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


# The SDK of OpenAI for Python


def test_a_picture_is_asked_about_whole_and_streamed(
    client: openai.OpenAI, tiny: LocalModel
) -> None:
    picture = {"url": f"data:image/png;base64,{encoded(SCENE)}", "detail": "auto"}
    content = [
        {"type": "image_url", "image_url": picture},
        {"type": "text", "text": "Describe this image."},
    ]
    asked: dict[str, Any] = {**GREEDY, "messages": [{"role": "user", "content": content}]}
    whole = client.chat.completions.create(**asked)
    text = expected(tiny, "Describe this image.", images=[SCENE])
    assert whole.choices[0].message.content == text
    streamed = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = streamed
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == text
    assert last.usage is not None and last.usage.total_tokens == whole.usage.total_tokens


def test_a_recording_is_heard(client: openai.OpenAI, tiny: LocalModel) -> None:
    speech = Path(sample("speech04.wav"))
    sound = {"data": encoded(speech), "format": "wav"}
    content: list[Any] = [
        {"type": "text", "text": "Transcribe this."},
        {"type": "input_audio", "input_audio": sound},
    ]
    found = client.chat.completions.create(
        **GREEDY, messages=[{"role": "user", "content": content}]
    )
    assert found.choices[0].message.content == expected(tiny, "Transcribe this.", audio=[speech])


class Scene(BaseModel):
    kind: Literal["drawing", "photo"]
    crowded: bool


def test_an_answer_is_parsed_to_the_class_that_was_asked_for(client: openai.OpenAI) -> None:
    asked = {**HELLO, "max_tokens": 80}
    found = client.chat.completions.parse(**asked, response_format=Scene)
    assert isinstance(found.choices[0].message.parsed, Scene)
    with client.chat.completions.stream(**asked, response_format=Scene) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Scene)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"


def test_errors_are_the_exceptions_of_the_sdk(url: str, client: openai.OpenAI) -> None:
    with (
        client_of(url, "wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="token is missing or wrong"),
    ):
        stranger.models.list()
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'") as missing:
        client.chat.completions.create(**{**HELLO, "model": "gpt-4"})
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
        client.chat.completions.create(**{**HELLO, "temperature": "hot"}, stream=True)
    assert wrong.value.param == "temperature"


class BusyAtFirst(Scripted):
    """Its queue is full for the first prompt."""

    def stream(self, prompts: Sequence[Prompt]) -> AnswerStream:
        answers = super().stream(prompts)
        if len(self.requests) == 1:
            raise QueueFullError(64, 0.01)
        return answers


@pytest.mark.slow
def test_a_full_queue_is_asked_again(tiny: LocalModel) -> None:
    model = BusyAtFirst(tiny, TextDelta(text="Yes"), finished("Yes"))
    with serving(model) as address, client_of(f"{address}/v1", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as full:
            client.chat.completions.create(**HELLO)
        assert full.value.response.headers["Retry-After"] == "1"
        model.requests.clear()
        patient = client.with_options(max_retries=1)
        found = patient.chat.completions.create(**HELLO)
        assert found.choices[0].message.content == "Yes" and len(model.requests) == 2


def test_an_error_in_the_middle_of_an_answer_is_raised(tiny: LocalModel) -> None:
    model = Scripted(tiny, TextDelta(text="Y"), QueueFullError(1))
    with serving(model) as address, client_of(f"{address}/v1", max_retries=0) as client:
        stream = client.chat.completions.create(**HELLO, stream=True)
        with pytest.raises(openai.APIError, match="wait"):
            list(stream)


def test_a_stream_that_is_closed_or_too_slow_ends_its_answer(tiny: LocalModel) -> None:
    model = Scripted(tiny, TextDelta(text="Y"))
    with serving(model) as address, client_of(f"{address}/v1", max_retries=0) as client:
        with client.chat.completions.create(**HELLO, stream=True) as stream:
            next(iter(stream))
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.1).chat.completions.create(**HELLO)
        until = time.monotonic() + SECONDS
        while not all(each.is_cancelled for each in model.requests):
            assert time.monotonic() < until
            time.sleep(0.005)
        assert len(model.requests) == 2


# Programs


def ran(command: list[str], **variables: str) -> str:
    env = {**os.environ, **variables}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=env,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_llm_has_it_as_a_server_of_openais_api(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = (
        f"- model_id: ours\n  model_name: default\n  api_base: {url}\n  api_key_name: ours\n"
        "  vision: true\n  audio: true\n  supports_schema: true\n  supports_tools: true\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(models, encoding="utf-8")
    options = ["-o", "temperature", "0", "-o", "max_tokens", "12", "--key", TOKEN]
    question = "Describe this image."
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))

    def llm(*args: str) -> str:
        done = CliRunner().invoke(cli, ["-m", "ours", "--no-log", *args])
        assert done.exit_code == 0, done.output
        return done.stdout

    text = llm(question, "-a", str(SCENE), *options)
    assert len(text.split()) > 3
    assert llm(question, "-a", str(SCENE), *options, "--no-stream") == text
    assert '"count"' in llm("Hello", "--schema", "count int", "--key", TOKEN)


@pytest.mark.slow
def test_sgpt_has_a_chat_of_several_turns(tiny: LocalModel, tmp_path: Path) -> None:
    sgpt = shutil.which("sgpt")
    if sgpt is None:
        pytest.skip("needs sgpt, of the package shell-gpt, in PATH")
    model = Scripted(tiny, TextDelta(text="A red "), TextDelta(text="star."), finished("x"))
    with serving(model, token=TOKEN) as address:
        variables = {
            "HOME": str(tmp_path),
            "CHAT_CACHE_PATH": str(tmp_path / "chats"),
            "CACHE_PATH": str(tmp_path / "cache"),
            "API_BASE_URL": f"{address}/v1",
            "DEFAULT_MODEL": "default",
            "OPENAI_API_KEY": TOKEN,
        }
        for question in ("What is it?", "And its color?"):
            said = ran([sgpt, "--no-md", "--no-cache", "--chat", "seen", question], **variables)
            assert said == "A red star.\n"
    _, second = (each.prompt.inputs.text for each in model.requests)
    turns = [second.index(each) for each in ("What is it?", "A red star.", "And its color?")]
    assert turns == sorted(turns) and "You are ShellGPT" in second[: turns[0]]


_SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({baseURL: process.argv[2], apiKey: process.argv[3], maxRetries: 0});
const asked = {
  model: "default", temperature: 0, max_tokens: 12, messages: [{role: "user", content: "Hello"}],
};
const whole = await client.chat.completions.create(asked);
let text = "";
for await (const chunk of await client.chat.completions.create({...asked, stream: true})) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
console.log(text === whole.choices[0].message.content, JSON.stringify(text));
try {
  await client.chat.completions.create({...asked, model: "gpt-4"});
} catch (error) {
  console.log(error instanceof OpenAI.NotFoundError, error.code);
}
"""


@pytest.mark.slow
def test_the_sdk_for_javascript_gets_the_same_answers(
    url: str, tiny: LocalModel, tmp_path: Path
) -> None:
    node, folder = shutil.which("node"), os.environ.get("NODE_PATH")
    if node is None or folder is None or not (Path(folder) / "openai").is_dir():
        pytest.skip("needs node, and NODE_PATH with the package openai of npm")
    (tmp_path / "node_modules").symlink_to(folder)
    script = tmp_path / "client.mjs"
    script.write_text(_SCRIPT, encoding="utf-8")
    same, error = ran([node, str(script), url, TOKEN]).splitlines()
    assert same.startswith("true ") and same.removeprefix("true ") != '""'
    assert error == "true model_not_found"
