"""Lines as they are typed: editing, history, completion; the keys come from a pipe."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cli_runs import Tty, environment
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from gemma4cli.cli.chat import prompt_input
from gemma4cli.cli.chat.pastes import Pastes
from gemma4cli.cli.chat.prompt_input import Reader, copy_to_clipboard
from gemma4cli.cli.environment import Environment


@pytest.fixture
def world(tmp_path: Path) -> Environment:
    return environment(XDG_STATE_HOME=str(tmp_path / "state"))


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeInput]:
    monkeypatch.setattr(prompt_input, "create_output", lambda **_: DummyOutput())
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def read(reader: Reader, keyboard: PipeInput, messages: Sequence[str]) -> list[str]:
    """Type each, with Enter at its end; what the reader made of them."""
    made = []
    for typed in messages:
        keyboard.send_text(f"{typed}\r")
        made.append(reader.read())
    return made


def test_lines_are_edited(world: Environment, keyboard: PipeInput) -> None:
    reader = Reader(world, history=True)
    typed = {
        "one\x1b\rtwo": "one\ntwo",
        "one\\\rtwo": "one\ntwo",
        "```\ra\r```": "```\na\n```",
        "\x1b[200~a\nb\nc\x1b[201~": "a\nb\nc",
        "thrown away\x03kept": "kept",
        "\x1b[A": "kept",
        "thrown away no more": "thrown away no more",
    }
    assert read(reader, keyboard, list(typed)) == list(typed.values())


def test_ctrl_z_suspends_and_keeps_the_line(
    world: Environment, keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended: list[object] = []
    monkeypatch.setattr(Application, "suspend_to_background", lambda app: suspended.append(app))
    reader = Reader(world, history=False)
    assert read(reader, keyboard, ["half\x1a a line"]) == ["half a line"]
    keyboard.send_text("\x1ay\r")
    assert reader.confirm("Go on?")
    assert len(suspended) == 2


def test_commands_are_completed(world: Environment, keyboard: PipeInput) -> None:
    reader = Reader(world, history=False)
    reader.completer.choices = {"/image": None, "/exit": tuple}
    reader.completer.with_arguments = {"/image"}
    assert read(reader, keyboard, ["/ima\ta.png", "/ex\t"]) == ["/image a.png", "/exit"]


def test_a_long_paste_is_shown_as_a_mark(world: Environment, keyboard: PipeInput) -> None:
    reader = Reader(world, history=True)
    pasted = "word " * 2000 + "\nend"
    typed = f"Sum up: \x1b[200~{pasted}\x1b[201~!".replace("\n", "\r\n")
    assert read(reader, keyboard, [typed, "\x1b[A"]) == [f"Sum up: {pasted}!"] * 2
    keyboard.send_text("\r")
    assert reader.read(draft=pasted) == pasted
    assert "word" not in (world.state_folder / "history").read_text()


def test_a_mark_of_another_run_is_text() -> None:
    pastes = Pastes()
    mark = pastes.collapsed("x" * 5000)
    assert mark == "[pasted text 1: 5,000 characters]"
    assert pastes.expanded(f"a {mark} b") == f"a {'x' * 5000} b"
    assert Pastes().expanded(mark) == mark
    assert pastes.collapsed("short") == "short"
    assert pastes.collapsed(f"a {'x' * 5000} b") == f"a {mark} b"


def test_a_large_history_loses_its_older_half(world: Environment, keyboard: PipeInput) -> None:
    world.state_folder.mkdir(parents=True)
    path = world.state_folder / "history"
    path.write_text("".join(f"\n# then\n+{number:0999}\n" for number in range(2000)))
    read(Reader(world, history=True), keyboard, ["new"])
    kept = path.read_text()
    assert len(kept) < 1_100_000
    assert kept.startswith("\n# then\n+") and f"{1999:0999}" in kept
    assert read(Reader(world, history=True), keyboard, ["\x1b[A"]) == ["new"]


def test_ctrl_d_and_ctrl_c_leave_an_empty_line(world: Environment, keyboard: PipeInput) -> None:
    reader = Reader(world, history=False)
    keyboard.send_text("\x04")
    with pytest.raises(EOFError):
        reader.read()
    keyboard.send_text("\x03")
    with pytest.raises(KeyboardInterrupt):
        reader.read()


def test_history_is_kept_for_its_owner_alone(world: Environment, keyboard: PipeInput) -> None:
    read(Reader(world, history=True), keyboard, ["remember this"])
    assert stat.S_IMODE((world.state_folder / "history").stat().st_mode) == 0o600
    assert read(Reader(world, history=True), keyboard, ["\x1b[A"]) == ["remember this"]


def test_a_history_that_is_not_wanted_is_in_memory_only(
    world: Environment, keyboard: PipeInput
) -> None:
    reader = Reader(world, history=False)
    assert read(reader, keyboard, ["secret", "\x1b[A"]) == ["secret", "secret"]
    assert not world.state_folder.exists()


def test_an_answer_is_copied_by_the_terminal() -> None:
    screen = Tty()
    assert copy_to_clipboard(environment(stderr=screen, TERM="xterm"), "copied")
    assert screen.getvalue() == f"\x1b]52;c;{base64.b64encode(b'copied').decode()}\x07"
