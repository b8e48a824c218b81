"""The conversation as a person sees it: on terminals of several sizes and kinds."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import stat
import struct
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_runs import DRIVER, SCRIPTED, Terminal, run_g4
from support.samples import TEXT_OF, sample

pyte = pytest.importorskip("pyte")

PROMPT = "\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""

COLORS = {"NO_COLOR": "", "TERM": "xterm-256color"}

ANSWER = """\
# Numbers

Some **bold** words, [brackets] and `code`.

- first
- second

| n | square |
|---|-------:|
| 2 | 4 |
| 12 | 144 |

```python
print([1][0])
```
"""
SHOWN = """\
Numbers

Some bold words, [brackets] and code.

• first
• second

n   │ square
────┼───────
2   │      4
12  │    144

```python
print([1][0])
```"""


class Window(Terminal):
    """A terminal of a size, with an emulator that shows what a person would see.

    Its answers are scripted, or repeat the question.
    """

    def __init__(
        self,
        *args: str,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        driver: Path = SCRIPTED,
    ) -> None:
        super().__init__("chat", "-m", "tiny", *args, env=env, driver=driver)
        self._emulated = 0
        self.screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.Stream(self.screen)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self._emulate()
        self.screen.resize(rows, columns)

    def _emulate(self) -> None:
        self._stream.feed(self.output[self._emulated :])
        self._emulated = len(self.output)

    @property
    def shown(self) -> str:
        """All lines, those that have scrolled away among them."""
        self._emulate()
        rows = [
            *self.screen.history.top,
            *(self.screen.buffer[y] for y in range(self.screen.lines)),
        ]
        lines = ("".join(row[x].data for x in range(self.screen.columns)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def ask(self, line: str) -> str:
        """Type a line; what came until the next prompt."""
        self.type(f"{line}\r")
        return self.expect(PROMPT)

    def leave(self) -> None:
        self.type("\x04")
        assert self.wait() == 0
        assert "Traceback" not in self.output


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Processes answer with the text in this file, once it is there."""
    path = tmp_path / "answer.md"
    monkeypatch.setenv("G4_SCRIPT", str(path))
    return path


def state() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "g4"


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60)])
@pytest.mark.slow
def test_markdown_is_shown(script: Path, columns: int, rows: int) -> None:
    script.write_text(ANSWER)
    with Window(columns=columns, rows=rows, env=COLORS) as window:
        window.expect(PROMPT)
        window.ask("Go")
        assert SHOWN in window.shown
        window.leave()


@pytest.mark.slow
def test_resizing_while_an_answer_streams_garbles_nothing(script: Path) -> None:
    words = [f"word{number:03}" for number in range(300)]
    script.write_text(f"{' '.join(words)}\n\n{ANSWER}")
    with Window(columns=60, rows=20, env=COLORS) as window:
        window.expect(PROMPT)
        window.type("Go\r")
        for at, (columns, rows) in ((50, (90, 20)), (150, (70, 20)), (250, (100, 30))):
            window.expect(words[at])
            window.resize(columns, rows)
        window.expect(PROMPT)
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", window.output)
        assert re.findall(r"word\d{3}", plain) == words
        assert SHOWN in window.shown
        window.leave()


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
@pytest.mark.slow
def test_plain_terminals_get_the_text_as_it_is(script: Path, variables: dict[str, str]) -> None:
    script.write_text(ANSWER)
    with Window(env={"NO_COLOR": "", **variables}) as window:
        prompt = "> " if variables["TERM"] == "dumb" else PROMPT
        window.expect(prompt)
        window.type("Go\r")
        window.expect("print([1][0])\r\n```\r\n")
        window.expect(prompt)
        assert ANSWER.replace("\n", "\r\n") in window.output
        window.type("/exit\r")
        assert window.wait() == 0


@pytest.mark.slow
def test_thoughts_are_set_apart_and_may_be_hidden(script: Path) -> None:
    script.write_text("Yes.\n")
    with Window("--think", env=COLORS) as window:
        window.expect(PROMPT)
        assert "\x1b[2mLet me see.\x1b[0m\r\n\r\nYes." in window.ask("Go")
        window.ask("/think hide")
        assert "Let me see." not in window.ask("Go")
        window.leave()


@pytest.mark.slow
def test_lines_are_edited() -> None:
    with Window() as window:
        window.expect(PROMPT)
        assert r"'one\ntwo'" in window.ask("one\x1b\rtwo")
        assert r"'one\ntwo'" in window.ask("one\\\rtwo")
        assert r"'```\na\n```'" in window.ask("```\ra\r```")
        assert r"'a\nb\nc'" in window.ask("\x1b[200~a\nb\nc\x1b[201~")
        assert "'kept'" in window.ask("thrown away\x03kept")
        assert "'kept'" in window.ask("\x1b[A")
        assert "'thrown away no more'" in window.ask("thrown away no more")
        assert r"'one\ntwo'" in window.ask("\x12two\r")
        window.type("/ima\t")
        window.expect("ge")
        assert "/image needs a file" in window.ask("")
        assert "/image needs a file" in window.ask("/ima\t")
        window.type("\x03")
        assert window.wait() == 0


@pytest.mark.slow
def test_history_is_kept_for_the_owner() -> None:
    with Window() as window:
        window.expect(PROMPT)
        window.ask("remember this")
        window.leave()
    assert stat.S_IMODE((state() / "history").stat().st_mode) == 0o600
    with Window() as window:
        window.expect(PROMPT)
        assert "'remember this'" in window.ask("\x1b[A")
        window.leave()


@pytest.mark.slow
def test_no_log_leaves_no_files() -> None:
    with Window("--no-log") as window:
        window.expect(PROMPT)
        window.ask("secret")
        assert "'secret'" in window.ask("\x1b[A")
        window.leave()
    assert not state().exists()


@pytest.mark.slow
def test_a_conversation_continues_in_another_run(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(Path(sample("image00.png")).read_bytes())
    with Window("--session", "stars", driver=DRIVER) as window:
        window.expect(PROMPT)
        window.ask(f"{tmp_path}/a\\ b.png")
        assert TEXT_OF["image00.png"] in window.ask("Describe this image.")
        busy = run_g4("chat", "-m", "tiny", "-c", "-p", "Hello")
        assert busy.returncode == 1
        assert b"g4: conversation stars: another g4 has it open" in busy.stderr
        window.leave()
    (tmp_path / "a b.png").unlink()
    with Window("-c", driver=DRIVER) as window:
        window.expect("continuing stars, 1 turn\r\n")
        window.expect(PROMPT)
        assert TEXT_OF["image00.png"] in window.ask("/retry")
        window.leave()
    listed = run_g4("chat", "--list").stdout.decode()
    assert re.fullmatch(r"stars +\S+ \S+ +1 turn +Describe this image\.\n", listed)


@pytest.mark.slow
def test_a_killed_process_keeps_all_finished_turns() -> None:
    with Window("--session", "one") as window:
        window.expect(PROMPT)
        window.ask("first")
        window.type("second\r")
        window.expect("'sec")
    with Window("--session", "one") as window:
        window.expect("continuing one, 1 turn")
        window.expect(PROMPT)
        window.leave()


@pytest.mark.slow
def test_answer_is_copied_by_the_terminal() -> None:
    with Window() as window:
        window.expect(PROMPT)
        window.ask("copied")
        coded = base64.b64encode(b"'copied'").decode()
        assert f"\x1b]52;c;{coded}\x07" in window.ask("/copy")
        window.leave()
