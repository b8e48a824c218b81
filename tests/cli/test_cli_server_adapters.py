"""Several adapters behind ``--server``, and how they are given to ``g4 serve``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_runs import assert_fails, g4, g4_with, records
from support.live_server import serving_each
from support.served_adapters import NAMES, write_three
from test_cli_server import typed

import gemma4cli
from gemma4cli.api import change_adapter
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.run.served_model import served_model
from gemma4cli.engine.adapter_loading import with_adapters
from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import AdapterError, RemoteError
from gemma4cli.hub.adapters import find_adapter
from gemma4cli.serving.queue import Queue
from gemma4cli.serving.queued_model import QueuedModel

__all__ = ["typed"]  # a fixture of another

ASK = ("--max-tokens", "16", "--temperature", "0", "-p", "Hello")
EVERY = (*NAMES, "tiny")


@pytest.fixture(scope="module")
def folders(tiny: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_three(tmp_path_factory.mktemp("adapters"), tiny)


@pytest.fixture(scope="module")
def url(folders: dict[str, Path]) -> Iterator[str]:
    files = [find_adapter(str(folders[name])) for name in NAMES]
    queue = Queue(lambda: with_adapters(gemma4cli.load("tiny"), files))
    models = {name: QueuedModel(queue, place) for place, name in enumerate(EVERY)}
    with serving_each(models) as address:
        yield address
    queue.close()


def test_m_chooses_one_of_the_servers_models(url: str, folders: dict[str, Path]) -> None:
    answers = set()
    for name in EVERY:
        adapter = ("--adapter", folders[name]) if name in folders else ()
        here = g4("chat", "-m", "tiny", *adapter, *ASK)
        there = g4("chat", "--server", url, "-m", name, *ASK)
        assert (there.exit_code, there.stdout) == (here.exit_code, here.stdout)
        answers.add(there.stdout)
    assert len(answers) == len(EVERY)
    assert (
        g4("chat", "--server", url, *ASK).stdout
        == g4("chat", "--server", url, "-m", NAMES[0], *ASK).stdout
    )


def test_a_name_that_the_server_has_not_is_an_error_that_lists_those_it_has(url: str) -> None:
    result = g4("chat", "--server", url, "-m", "other", *ASK)
    assert_fails(result, 4, "has brief, loud, dora, tiny, not other")
    result = g4("chat", "--server", url, "--adapter", "loud", *ASK)
    assert_fails(result, 2, "choose one by its name there, with -m")


def test_a_conversation_goes_on_with_another_adapter_of_the_server(
    url: str, world: Environment, typed: Callable[..., tuple[str, str]]
) -> None:
    lines = ("/model", "/adapter dora", "/adapter nowhere", "/adapter none", "/model loud")
    _, err = typed(served_model(world, url, None), url, *lines)
    assert f"brief, served at {url}, which also has loud, dora, tiny\n" in err
    assert "\ndora\n" in err and "\ntiny\n" in err
    assert "which chooses its adapters: it has brief, loud, dora\n" in err
    assert f"\nloud, served at {url}, which also has brief, dora, tiny\n" in err
    out, _ = typed(served_model(world, url, "tiny"), url, "Hello", "/adapter loud", "/retry")
    plain, changed = out.splitlines()
    assert plain.startswith("Hello!") and changed != plain


def test_the_doctor_names_all_models_of_a_server(url: str) -> None:
    result = g4_with({"G4_SERVER": url}, "doctor")
    assert "has brief, loud, dora, tiny, " in result.stdout.replace("\n", " ")


def test_python_connects_to_one_of_several_models(url: str) -> None:
    loud = gemma4cli.connect(url, model="loud")
    assert loud.name == "loud"
    assert loud.identity != gemma4cli.connect(url).identity
    with pytest.raises(RemoteError, match="'brief', 'loud', 'dora', 'tiny'"):
        gemma4cli.connect(url, model="other")
    changed = change_adapter(loud, None)
    assert changed.name == "tiny"
    with pytest.raises(AdapterError, match="it has brief, loud, dora"):
        change_adapter(loud, "tiny")


# Giving adapters


@pytest.mark.parametrize("command", ["chat", "describe", "transcribe"])
def test_a_run_has_one_adapter(command: str) -> None:
    result = g4(command, "-m", "tiny", "--adapter", "a", "--adapter", "b", "x.png")
    assert_fails(result, 2, "a run uses one adapter", "g4 serve has several")


def test_two_adapters_of_a_server_have_two_names(folders: dict[str, Path]) -> None:
    loud = folders["loud"]
    for adapters in (("--adapter", loud, "--adapter", loud), ("--adapter", f"tiny={loud}")):
        result = g4("serve", "-m", "tiny", "--port", "0", *adapters)
        assert_fails(result, 2, "two models would be called", f"--adapter NAME={loud}")
    named = ("-m", f"tiny+{loud}", "--adapter", folders["dora"])
    assert_fails(g4("serve", "--port", "0", *named), 4, "has an adapter already")


def test_a_file_sets_one_or_several_adapters_of_a_server(tmp_path: Path) -> None:
    def shown(command: str) -> object:
        rows = records(g4("config", command, "--json"))
        return next(row["value"] for row in rows if row["key"] == "adapter")

    file = tmp_path / ".g4.toml"
    file.write_text('adapter = "me/other"\n')
    assert (shown("serve"), shown("chat")) == (["me/other"], "me/other")
    file.write_text('[serve]\nadapter = ["a=./x", "./y", "me/z"]\n')
    assert shown("serve") == [f"a={tmp_path}/x", f"{tmp_path}/y", "me/z"]
    file.write_text('[serve]\nadapter = ["a=me/x", "me/z"]\n')
    assert "a=me/x, me/z\n" in g4("config", "serve").stdout
    file.write_text("[serve]\nadapter = [7]\n")
    assert_fails(g4("config", "serve"), 2, "serve.adapter must be a name, not 7")
    file.write_text('adapter = ["a", "b"]\n')
    assert_fails(g4("config", "chat"), 2, "adapter must be a name")
    for value in ('"a=/elsewhere/x"', '["./y", "a=../x"]', '"/elsewhere"'):
        file.write_text(f"[serve]\nadapter = {value}\n")
        assert "serve.adapter is ignored, since it lies outside" in g4("config", "serve").stderr
    file.unlink()
    (row,) = [
        each
        for each in records(g4_with({"G4_SERVE_ADAPTER": "a=b"}, "config", "serve", "--json"))
        if each["key"] == "adapter"
    ]
    assert row["value"] == ["a=b"]
    assert g4("config", "set", "serve.adapter", "a=me/x").exit_code == 0
    assert shown("serve") == ["a=me/x"]
