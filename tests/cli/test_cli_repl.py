"""The conversation at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import Terminal
from support.samples import GREETING, TEXT_OF, sample

PROMPT = "\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""


def ask(terminal: Terminal, line: str, answer: str) -> None:
    """Type a line, wait for what answers it and for the next prompt."""
    terminal.type(f"{line}\r")
    terminal.expect(answer)
    terminal.expect(PROMPT)


@pytest.mark.slow
def test_conversation() -> None:
    image = sample("image00.png")
    Path("text.png").write_text("no image")
    with Terminal("chat", "-m", "tiny") as terminal:
        terminal.expect("tiny: type a question")
        terminal.expect(PROMPT)
        ask(terminal, "Hello", GREETING)
        ask(terminal, f"/image {image}", "image00.png is attached to the next question")
        ask(terminal, "Describe this image.", TEXT_OF["image00.png"])
        ask(terminal, "/nonsense", "unknown command /nonsense; /help lists all")
        ask(terminal, "/image", "/image needs a file")
        ask(terminal, "/image nowhere.png", "nowhere.png: no such file")
        ask(terminal, "/image 'open", "'open: no such file")
        ask(terminal, "/help", "Ctrl-C stops an answer and keeps the text so far.")
        ask(terminal, "/image text.png", "text.png is attached to the next question")
        ask(terminal, "/clear", "new conversation")
        ask(terminal, "Hello", GREETING)  # and not a word about text.png
        terminal.type("\x04")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.output


@pytest.mark.slow
def test_a_conversation_continues_after_a_failed_turn() -> None:
    Path("text.png").write_text("no image")
    with Terminal("chat", "-m", "tiny", "--image", "text.png") as terminal:
        terminal.expect(PROMPT)
        ask(terminal, "Describe this image.", "g4: text.png: ")
        ask(terminal, "Hello", GREETING)
        terminal.type("/exit\r")
        assert terminal.wait() == 0


@pytest.mark.slow
def test_interrupt_stops_the_answer_and_not_the_conversation() -> None:
    options = ("--max-tokens", "8000")
    with Terminal("chat", "-m", "tiny", *options, ways="tty,endless") as terminal:
        terminal.expect(PROMPT)
        terminal.type("Hello\r")
        terminal.expect(GREETING)
        terminal.type("\x03")
        assert "stopped" in terminal.expect(PROMPT)
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.output


@pytest.mark.slow
def test_answers_to_a_file_hold_nothing_else() -> None:
    with (
        Path("answers.txt").open("wb") as file,
        Terminal("chat", "-m", "tiny", stdout=file) as terminal,
    ):
        terminal.expect(PROMPT)
        terminal.type("Hello\r")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.wait() == 0
    assert Path("answers.txt").read_text("utf-8") == f"{GREETING}\n"
