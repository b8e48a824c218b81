"""Lines as they are typed: editing, history, completion; the keys come from a pipe."""

from __future__ import annotations

import base64
import io
import stat
from collections.abc import Iterator, Sequence

import pytest
from cli_runs import Tty, environment
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import TransformationInput
from prompt_toolkit.output import DummyOutput

from gemma4cli.cli.chat import prompt_input
from gemma4cli.cli.chat.edit_line import ShowUnseen
from gemma4cli.cli.chat.pastes import Pastes
from gemma4cli.cli.chat.prompt_input import Reader, copy_to_clipboard
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.escapes import one_line


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


def shown(text: str, *, cursor: int = 0) -> tuple[str, int, int]:
    """A line as it is drawn, where the cursor is then, and the position there."""
    document = Document(text, cursor)
    fragments = [("", text)]
    control = BufferControl()
    made = ShowUnseen().apply_transformation(
        TransformationInput(control, document, 0, lambda at: at, fragments, 80, 1)
    )
    at = made.source_to_display(cursor)
    return "".join(each[1] for each in made.fragments), at, made.display_to_source(at)


def test_what_cannot_be_seen_in_the_line_is_drawn_as_an_escape(subtests: pytest.Subtests) -> None:
    for typed, drawn, cursor, at in [
        ("/image a\u202eb.png", "/image a\\u202Eb.png", 9, 14),
        ("/image a\u200bb", "/image a\\u200Bb", 10, 15),
        ("/image \udcff", "/image \\xFF", 8, 11),
        ("/image a\u200db", "/image a\\u200Db", 8, 8),
        ("a\u202eb\ufeff", "a\\u202Eb\\uFEFF", 4, 14),
        ("👨\u200d👩 نمی\u200cبین é", "👨\u200d👩 نمی\u200cبین é", 3, 3),
        ("a\x1b\x9bb", "a\x1b\x9bb", 4, 4),  # prompt_toolkit draws these as ^[ and <9b>
    ]:
        with subtests.test(typed=one_line(typed)):
            assert shown(typed, cursor=cursor) == (drawn, at, cursor)


def test_the_text_itself_stays(world: Environment, keyboard: PipeInput) -> None:
    for text in ("/image a\u202eb.png", "a\u200bb", "a\udcffb"):
        keyboard.send_bytes(text.encode("utf-8", "surrogateescape") + b"\r")
        assert Reader(world, history=True).read() == text


def test_an_error_while_typing_is_one_line_and_keeps_the_line(
    world: Environment, keyboard: PipeInput
) -> None:
    for debug in (False, True):
        reader = Reader(world, history=False, debug=debug)

        def choices() -> list[str]:
            raise ValueError("odd\x1b[2J")

        reader.completer.choices = {"/model": choices}
        assert read(reader, keyboard, ["/model t\tiny"]) == ["/model tiny"]
        said = world.stderr.getvalue()  # type: ignore[attr-defined]
        line = "g4: unexpected error (ValueError: odd\\x1B[2J); --debug shows more\n"
        assert said.endswith(line)
        assert ("Traceback" in said) == debug


class Answering(io.StringIO):
    """Standard error at which somebody types as soon as something is written to it."""

    def __init__(self, keyboard: PipeInput, typed: str) -> None:
        super().__init__()
        self._keyboard, self._typed = keyboard, typed

    def write(self, text: str) -> int:
        self._keyboard.send_text(self._typed)
        self._typed = ""
        return super().write(text)


def fail(*_: object) -> None:
    raise ValueError("odd")


def test_an_error_of_a_key_keeps_the_line(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Pastes.collapsed
    monkeypatch.setattr(Pastes, "collapsed", lambda *given: fail() if given[1] else plain(*given))
    screen = Answering(keyboard, "b\r")
    keyboard.send_text("a\x1b[200~pasted\x1b[201~")
    assert Reader(environment(stderr=screen), history=False).read() == "ab"
    assert screen.getvalue() == "g4: unexpected error (ValueError: odd); --debug shows more\n"


def test_an_error_of_drawing_the_line_does_not_come_for_ever(
    world: Environment, keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShowUnseen, "apply_transformation", fail)
    keyboard.send_text("a")
    with pytest.raises(ValueError, match="odd"):
        Reader(world, history=False).read()
