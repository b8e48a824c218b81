"""Commands that run inside the tests' process share the built-in model, and are built once."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
import typer.testing
from cli_runs import Exchange, environment, finished
from talks import Script, ScriptedChat, Talk

from gemma4cli import api
from gemma4cli.cli.chat.repl import Repl
from gemma4cli.cli.chat.sessions import Autosave, SessionOptions, opened_autosave
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.run import runner
from gemma4cli.cli.run.options import RunOptions
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Event, TextDelta
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.messages import Part
from gemma4cli.options import GenerateOptions, LoadOptions


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands look for a project file in the current folder and above it."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find Python's streams as users do."""
    for name in ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _commands_built_once() -> Iterator[None]:
    """Typer builds all commands anew for each run in this process, which takes 15 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(autouse=True)
def _shared_model(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _isolation: None
) -> None:
    """``tiny`` is loaded once for all tests, other models by each. There is no drafter for it."""
    load = api.load

    def load_shared(
        model: str | ResolvedModel, *, options: LoadOptions | None = None, **rest: Any
    ) -> LoadedModel:
        name = model if isinstance(model, str) else model.name
        usual = options is None or replace(options, draft="auto") == LoadOptions()
        if name != "tiny" or not usual or rest.get("drafter") is not None:
            return load(model, options=options, **rest)
        shared: LoadedModel = request.getfixturevalue("tiny")
        return shared

    monkeypatch.setattr(api, "load", load_shared)
    # --offline sets this for the whole process.
    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ["HF_HUB_OFFLINE"])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """Nothing reaches the model: messages are noted, and answered with "Done.".

    The files that they name are not opened, and need not be there.
    """
    exchange = Exchange(events=[TextDelta(text="Done."), finished("Done.")])

    def answer(self: Chat, content: tuple[Part, ...], options: GenerateOptions) -> Iterator[Event]:
        exchange.parts.append(content)
        exchange.options.append(options)
        exchange.media.append(self.media)
        exchange.before.append(self.history)
        for event in exchange.events:
            if isinstance(event, BaseException):
                raise event
            yield event

    monkeypatch.setattr(Chat, "send", answer)
    monkeypatch.setattr(runner, "require", lambda source: None)
    return exchange


@pytest.fixture
def silence() -> Callable[[float], bytes]:
    """Makes a WAV of silence."""

    def make(seconds: float) -> bytes:
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.zeros(round(seconds * 16_000), "<i2").tobytes())
        return out.getvalue()

    return make


@pytest.fixture
def world(tmp_path: Path) -> Environment:
    return environment(XDG_STATE_HOME=str(tmp_path / "state"))


@pytest.fixture
def autosave(world: Environment) -> Iterator[Autosave]:
    with opened_autosave(world, SessionOptions(), always=True, debug=False) as autosave:
        yield autosave


@pytest.fixture
def talk(tiny: LoadedModel, world: Environment, autosave: Autosave) -> Talk:
    script = Script([])
    chat = ScriptedChat(tiny)
    repl = Repl(
        world,
        chat,
        RunOptions(quiet=True),
        autosave,
        script,  # type: ignore[arg-type]
        options=GenerateOptions(temperature=0.0, max_tokens=40),
    )
    assert isinstance(world.stdout, io.StringIO) and isinstance(world.stderr, io.StringIO)
    return Talk(repl=repl, chat=chat, script=script, stdout=world.stdout, stderr=world.stderr)
