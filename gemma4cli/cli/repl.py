"""The conversation at a terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.output import create_output

from ..errors import Gemma4Error
from ..messages import Part, Source
from ..session import Chat
from .chat import MEDIA_PARTS, in_card_order
from .render import Renderer
from .run_options import RunOptions
from .terminal import say, say_error

HELP = """\
/image FILE   show an image with the next question
/audio FILE   play a clip with the next question
/video FILE   show a video with the next question
/clear        begin again, the system prompt kept
/help         this list
/exit         leave; so does Ctrl-D
Ctrl-C stops an answer and keeps what was said."""


def converse(chat: Chat, media: Sequence[Part], run: RunOptions) -> None:
    """Read questions and show answers until the user leaves.

    ``media`` come with the first question. What an answer brought up stays with its turn.
    """
    # Where the answers go to a file, the prompt goes to stderr.
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(), output=create_output(always_prefer_tty=True)
    )
    waiting = list(media)
    if not run.quiet:
        say(f"{chat.model.name}: type a question, /help for commands, Ctrl-D to leave")
    while True:
        try:
            line = session.prompt("> ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line == "/exit":
            return
        if line.startswith("/"):
            _command(line, chat, waiting)
        elif line:
            _turn(chat, in_card_order(line, waiting), run)
            waiting.clear()


def _command(line: str, chat: Chat, waiting: list[Part]) -> None:
    try:
        name, *arguments = shlex.split(line)
    except ValueError as exc:
        say(f"{line}: {exc}")
        return
    if name[1:] in MEDIA_PARTS:
        if not arguments:
            say(f"{name} needs a file")
        for argument in arguments:
            if not Path(argument).expanduser().is_file():
                say(f"{argument}: no such file")
                continue
            waiting.append(MEDIA_PARTS[name[1:]](Source.of(Path(argument).expanduser())))
            say(f"{argument} comes with the next question")
    elif name == "/clear":
        chat.clear()
        waiting.clear()
        say("begun again")
    elif name == "/help":
        say(HELP)
    else:
        say(f"no command {name}; /help lists them")


def _turn(chat: Chat, content: tuple[Part, ...], run: RunOptions) -> None:
    try:
        with Renderer(sys.stdout, quiet=run.quiet) as renderer:
            for event in chat.send(content, run.generate_options()):
                renderer.show(event)
    except KeyboardInterrupt:
        say("stopped")
    except Gemma4Error as error:
        say_error(error, debug=run.debug)
