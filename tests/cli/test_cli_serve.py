"""``g4 serve``: who is let in, and how it starts and ends as a process."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import pytest
from cli_runs import ROOT, assert_fails, g4, g4_with, records
from support.served_adapters import write_three

from gemma4cli.cli.commands.serve_names import names_of
from gemma4cli.engine.model import LoadedModel

PATIENCE = 60.0


# What ends the command before a model is loaded


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_others_may_call_only_with_a_token(host: str) -> None:
    assert_fails(g4("serve", "-m", "tiny", "--host", host), 2, host, "G4_SERVE_TOKEN")


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_fails(g4("serve", "-m", "nothing", "--port", str(port)), 2, str(port), "--port")


def test_a_host_that_is_not_here_is_an_error() -> None:
    variables = {"G4_SERVE_TOKEN": "secret"}
    result = g4_with(variables, "serve", "-m", "nothing", "--host", "192.0.2.1")
    assert_fails(result, 2, "192.0.2.1")


def test_without_its_packages_the_error_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [each for each in sys.modules if each.startswith("gemma4cli.server")]:
        monkeypatch.delitem(sys.modules, name)
    assert_fails(g4("serve", "-m", "tiny"), 1, "uvicorn", "install starlette uvicorn")


def test_options_that_a_request_has_are_refused() -> None:
    assert_fails(g4("serve", "--json"), 2, "--json")
    assert_fails(g4("serve", "--allow-media-urls", "--offline"), 2, "exclude each other")


@pytest.mark.parametrize("origin", ["localhost:3000", "http://", "http://a.example/page"])
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    assert_fails(g4("serve", "--allow-origin", f"*, {origin}"), 2, "--allow-origin", origin)


def test_a_project_does_not_say_who_may_call() -> None:
    Path(".g4.toml").write_text('[serve]\nhost = "0.0.0.0"\ntoken = "x"\nallow_media_urls = true\n')
    rows = {row["key"]: row for row in records(g4("config", "serve", "--json"))}
    for key in ("host", "token", "allow_media_urls"):
        assert rows[key]["source"] == "default"
        assert f"serve.{key} is ignored" in g4("config").stderr


def test_a_token_is_not_shown() -> None:
    shown = g4_with({"G4_SERVE_TOKEN": "secret"}, "config", "serve")
    assert "secret" not in shown.stdout and "***" in shown.stdout
    result = g4("config", "set", "serve.token", "secret")
    assert result.exit_code == 0 and "secret" not in result.output


def test_a_model_has_its_name_here_and_on_the_hub(tmp_path: Path) -> None:
    assert names_of("tiny") == ("tiny",)
    repo = "mlx-community/gemma-4-e2b-it-4bit"
    assert names_of("e2b") == ("e2b", "gemma-4-e2b-it-4bit", repo)
    assert names_of(repo) == (repo, "e2b")
    (tmp_path / "mine").mkdir()
    assert names_of(str(tmp_path / "mine")) == ("mine",), "folders are nobody's business"


# A process


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str

    def ends(self) -> tuple[int, str]:
        """The exit status, and what came on stderr since the address."""
        watch = Timer(PATIENCE, self.process.kill)
        watch.start()
        try:
            assert self.process.stderr is not None
            said = self.process.stderr.read()
            return self.process.wait(), said
        finally:
            watch.cancel()


@contextmanager
def serving(*args: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "gemma4cli", "serve", "-m", "tiny", "--port", "0", *args]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            address = next(word for word in process.stderr.readline().split() if "http" in word)
            yield Server(process, address)
        finally:
            process.kill()


def asked(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello"}], "stream": True, **fields}


LONG = {
    "type": "json_schema",
    "json_schema": {
        "name": "long",
        "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 200, "maxItems": 200},
    },
}


@pytest.mark.slow
def test_curl_gets_a_streamed_answer_and_ctrl_c_ends_the_server() -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    with serving() as server:
        body = json.dumps(asked(max_tokens=4))
        url = f"{server.url}/chat/completions"
        done = subprocess.run(
            [curl, "-sN", url, "-d", body], capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.stdout.endswith('"finish_reason": "length"}]}\n\ndata: [DONE]\n\n')
        server.process.send_signal(signal.SIGINT)
        status, said = server.ends()
        assert status == 130
        (line,) = said.splitlines()
        assert line.startswith("POST /v1/chat/completions 200 ") and line.endswith("4 tokens")


def read_to_content(lines: Iterator[str]) -> None:
    """The first event comes before the prompt's turn, and a server that ends refuses who waits."""
    while '"delta": {"content": "' not in next(lines):
        continue


@pytest.mark.slow
def test_a_second_signal_ends_answers_at_once() -> None:
    endless = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 3500}
    schema = {"type": "json_schema", "json_schema": {"name": "endless", "schema": endless}}
    with serving() as server, httpx.Client(timeout=PATIENCE) as client:
        body = asked(response_format=schema, max_tokens=8000)
        with client.stream("POST", f"{server.url}/chat/completions", json=body) as response:
            lines = response.iter_lines()
            read_to_content(lines)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.stderr is not None
            assert "again" in server.process.stderr.readline()
            server.process.send_signal(signal.SIGTERM)
            *_, error, _, end, _ = lines
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "closing"
        assert end == "data: [DONE]"
        status, said = server.ends()
        assert status == 143 and "Traceback" not in said


@pytest.mark.slow
def test_sigterm_in_mid_answer_lets_it_end() -> None:
    with (
        serving("--token", "secret") as server,
        httpx.Client(headers={"Authorization": "Bearer secret"}, timeout=PATIENCE) as client,
    ):
        body = asked(response_format=LONG, max_tokens=4000, temperature=0)
        url = f"{server.url}/chat/completions"
        with client.stream("POST", url, json=body) as response:
            lines = response.iter_lines()
            read_to_content(lines)
            server.process.send_signal(signal.SIGTERM)
            *_, last, _, end, _ = lines
        assert '"finish_reason": "' in last and end == "data: [DONE]"
        status, said = server.ends()
        assert status == 143 and "Traceback" not in said


@pytest.mark.slow
def test_a_process_serves_several_adapters_and_lets_their_answers_end(
    tmp_path: Path, tiny: LoadedModel
) -> None:
    folders = write_three(tmp_path, tiny)
    given = [f"--adapter={name}={folders[name]}" for name in ("loud", "dora")]
    with serving(*given) as server, httpx.Client(timeout=PATIENCE) as client:
        url = f"{server.url}/chat/completions"
        body = asked(response_format=LONG, max_tokens=4000, temperature=0)
        with ExitStack() as stack:
            responses = {
                name: stack.enter_context(client.stream("POST", url, json={**body, "model": name}))
                for name in ("loud", "dora", "tiny")
            }
            lines = {name: each.iter_lines() for name, each in responses.items()}
            for each in lines.values():
                read_to_content(each)
            server.process.send_signal(signal.SIGTERM)
            for each in lines.values():
                *_, last, _, end, _ = each
                assert '"finish_reason": "' in last and end == "data: [DONE]"
        status, said = server.ends()
        assert status == 143 and "Traceback" not in said
