"""The loop of a chat at a terminal: reads a line, runs a slash command or asks the model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ... import interrupts
from ...interrupts import Ended
from ...messages import Source
from ..output.numbers import turns_text
from .attachments import in_card_order, medium
from .dropped import Problem, find_dropped, is_file
from .material import with_attached_text
from .repl import Repl
from .sessions import turns_of
from .slash_commands import COMMANDS, find_command

_COMMAND = re.compile(r"/[^\s/]*(?=\s|$)")
_CHARACTERS_PER_TOKEN = 4
_PROBLEMS_SHOWN = 3
_ANSWER_SHARE = 16
"""One part in this many of the context is left for an answer, unless --max-tokens is less."""


def converse(repl: Repl) -> None:
    """Read questions and show answers until the user leaves."""
    repl.reader.completer.choices = {
        f"/{name}": command.choices for name, command in COMMANDS.items()
    }
    repl.reader.completer.with_arguments = {
        f"/{name}" for name, command in COMMANDS.items() if command.takes
    }
    if not repl.run.quiet:
        repl.env.say(
            f"{repl.chat.model.name}: type a question, /help for commands, Ctrl-D to leave"
        )
        if turns := turns_of(repl.chat.history):
            repl.env.say(f"continuing {repl.autosave.name}, {turns_text(turns)}")
            with repl.fenced():
                repl.show_last_turn()
    while not repl.is_closed and repl.ended is None:
        draft, repl.draft = repl.draft, ""
        try:
            interrupts.answered()
            typed = repl.reader.read(aside=_context_use(repl), draft=draft).strip()
        except Ended as end:
            repl.ended = end
            break
        except (EOFError, KeyboardInterrupt):
            break
        _handle(repl, typed)
    with repl.fenced():
        repl.autosave.save_computed(repl.chat)
    if repl.autosave.is_on_disk and not repl.run.quiet:
        repl.env.say(f"saved as {repl.autosave.name}; g4 chat -c continues it")
    if repl.ended is not None:
        raise repl.ended


def _context_use(repl: Repl) -> str:
    use = repl.use
    return "" if use is None else f"{use.tokens:,} / {use.limit:,} tokens"


def _handle(repl: Repl, typed: str) -> None:
    """Run a command, or ask a question."""
    command = _COMMAND.match(typed)
    try:
        with repl.fenced():
            if command and not is_file(typed):
                find_command(command[0])(repl, typed[command.end() :].strip())
            elif typed:
                _ask(repl, typed)
    except KeyboardInterrupt as stop:
        repl.stopped(stop)


def _ask(repl: Repl, typed: str) -> None:
    dropped = find_dropped(typed, fetches=repl.fetches)
    if dropped.problems and not _sends_as_text(repl, dropped.problems):
        repl.draft = typed
        return
    question = "this question" if dropped.text else "the next question"
    for address in dropped.addresses:
        source, kind = medium(address, fetches=True)
        repl.attach(kind, source, question)
    for kind, path in dropped.files:
        repl.attach(kind, Source.of(path), question)
    if not dropped.text:
        return
    last = repl.autosave.shares_prompts
    text = with_attached_text(dropped.text, repl.attached_texts, last=last)
    _free_context(repl, text)
    content = in_card_order(text, repl.attached_media)
    if repl.answer(lambda: repl.chat.send(content, repl.options)):
        repl.attached_media.clear()
        repl.attached_texts.clear()
    elif repl.can_edit:
        repl.draft = dropped.text


def _sends_as_text(repl: Repl, problems: Sequence[Problem]) -> bool:
    """Ask whether a question is sent although it names what cannot be attached."""
    for each in problems[:_PROBLEMS_SHOWN]:
        repl.env.say(f"{each.name}: {each.problem}")
    what = "this name" if len(problems) == 1 else "these names"
    return repl.reader.confirm(f"Send {what} as text?")


def _free_context(repl: Repl, text: str) -> None:
    """Offer to drop the oldest turns if little context is left for an answer."""
    if repl.use is None:
        return
    tokens, limit = repl.use.tokens, repl.use.limit
    needed = len(text) // _CHARACTERS_PER_TOKEN
    needed += min(repl.options.max_tokens, limit // _ANSWER_SHARE)
    if tokens + needed <= limit or needed > limit:
        return
    if not repl.reader.confirm(
        f"{tokens:,} of {limit:,} tokens are used; drop the oldest turns for an answer?"
    ):
        return
    total = 0
    while repl.use is not None and repl.use.tokens + needed > limit:
        dropped = repl.drop_oldest()
        if not dropped:
            break
        total += dropped
    repl.say_dropped(total)
