"""The slash commands of a chat at a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ... import api
from ...conversations.file import read_conversation
from ...conversations.store import save_copy
from ...messages import TextPart
from ...options import SOFT_TOKEN_BUDGETS
from ..answers.writer import statistics
from ..output.numbers import turns_text
from ..run import completers
from ..run.budgets import ALLOWED, budget_of
from ..run.protected import check_protected
from ..run.runner import load_model
from .attach_commands import Run, attach_as, attach_recording, attach_text, one_file_after
from .completion import Choices
from .prompt_input import copy_to_clipboard
from .sessions import conversation_of, turns_of

if TYPE_CHECKING:
    from .repl import Repl

_KEYS = """\
Enter sends; Alt-Enter, a trailing backslash or an open ``` starts a new line.
Ctrl-X Ctrl-E opens an editor, Ctrl-R searches the history, Tab completes.
An image, audio or video file dropped here, or named by its path, is attached
to the question. Ctrl-C stops an answer and keeps the text so far."""

_FENCED = re.compile(r"^ *(`{3,}|~{3,})[^\n]*\n(.*?)^ *\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """``takes`` and ``does`` are shown by /help; ``choices`` are completed, None means files."""

    takes: str
    does: str
    run: Run
    choices: Choices | None


def find_command(typed: str) -> Run:
    """The command for ``typed``, which includes the slash."""
    command = COMMANDS.get(typed[1:])
    return _unknown(typed) if command is None else command.run


def _unknown(typed: str) -> Run:
    name = typed[1:].lower()
    known = [each for each, typed_there in _HABITS.items() if name in typed_there.split()]
    meant = known or get_close_matches(name, COMMANDS, n=1)

    def report(repl: Repl, rest: str) -> None:
        hint = f"did you mean /{meant[0]}?" if meant else "/help lists all"
        repl.env.say(f"unknown command {typed}; {hint}")

    return report


def _system(repl: Repl, rest: str) -> None:
    if rest:
        repl.rebuild(system="" if rest == "off" else rest)
        if turns_of(repl.chat.history):
            repl.save()
        repl.env.say("system prompt removed" if rest == "off" else "system prompt set")
        return
    prompts = [message for message in repl.chat.history if message.role == "system"]
    repl.env.say(str(prompts[0].content) if prompts else "no system prompt; /system TEXT sets one")


def _think(repl: Repl, rest: str) -> None:
    match rest:
        case "on" | "off":
            repl.options = replace(repl.options, think=rest == "on")
        case "show" | "hide":
            repl.hide_thoughts = rest == "hide"
        case "":
            pass
        case _:
            repl.env.say("/think takes on, off, show or hide")
            return
    shown = "hidden" if repl.hide_thoughts else "shown"
    repl.env.say(
        f"thinking is on; thoughts are {shown}" if repl.options.think else "thinking is off"
    )


def _budget(repl: Repl, rest: str) -> None:
    if rest:
        if rest != "auto" and not rest.isdecimal():
            repl.env.say(f"/budget takes {ALLOWED}")
            return
        repl.chat.media = replace(repl.chat.media, budget=budget_of(rest))
        repl.measure_context()
    match repl.chat.media.budget:
        case None:
            repl.env.say("the model's own budget of soft tokens per image")
        case "auto":
            repl.env.say("soft tokens per image by the question and the image's size")
        case budget:
            repl.env.say(f"up to {budget} soft tokens per image")


def _model(repl: Repl, rest: str) -> None:
    if rest:
        run = replace(repl.run, model=rest, adapter=None)
        repl.rebuild(model=load_model(repl.env, run))
        repl.run = run
    repl.env.say(f"{repl.chat.model.name}{_served(repl)}")


def _served(repl: Repl) -> str:
    """Where the model is served, if it is, and what else is there."""
    if repl.run.server is None:
        return ""
    from ..run.served_model import others_beside

    others = others_beside(repl.chat.model)
    also = f", which also has {', '.join(others)}" if others else ""
    return f", served at {repl.run.server}{also}"


def _adapter(repl: Repl, rest: str) -> None:
    if rest:
        adapter = None if rest == "none" else rest
        repl.rebuild(model=api.change_adapter(repl.chat.model, adapter))
        repl.run = replace(repl.run, adapter=adapter)
    repl.env.say(repl.chat.model.name)


def _adapter_names() -> Iterable[str]:
    return ("none", *(name for name, _ in completers.adapters("")))


def _model_names() -> Iterable[str]:
    return (entry.name for entry in api.list_models())


def _undo(repl: Repl, rest: str) -> None:
    if repl.chat.undo():
        repl.measure_context()
        repl.save()
        repl.env.say("last turn removed")
    else:
        repl.env.say("nothing to undo")


def _retry(repl: Repl, rest: str) -> None:
    repl.answer(lambda: repl.chat.retry(repl.options), needs=1)


def _drop(repl: Repl, rest: str) -> None:
    turns = repl.drop_oldest()
    if turns:
        repl.save()
    if not repl.say_dropped(turns):
        repl.env.say("nothing to drop")


def _copy(repl: Repl, rest: str) -> None:
    answers = [message for message in repl.chat.history if message.role == "assistant"]
    if not answers:
        repl.env.say("no answer to copy")
        return
    text = "".join(part.text for part in answers[-1].parts if isinstance(part, TextPart))
    if rest == "code":
        blocks = _FENCED.findall(text)
        if not blocks:
            repl.env.say("the last answer has no code block")
            return
        text = blocks[-1][1]
    if copy_to_clipboard(repl.env, text):
        repl.env.say(f"copied {len(text):,} characters to the clipboard")
    else:
        repl.env.say("copying to the clipboard needs a terminal")


def _save(repl: Repl, rest: str) -> None:
    path = one_file_after(repl, "/save", rest)
    if path is None:
        return
    conversation = conversation_of(repl.chat, think=repl.options.think)
    if not conversation.messages:
        repl.env.say("nothing to save")
        return
    if os.path.isdir(path) or rest.endswith("/"):
        repl.env.say(f"{path} is a folder; name a file, such as {path / 'talk.json'}")
        return
    run = replace(repl.run, model=repl.chat.model.name)
    check_protected(repl.env, run, [path], repl.files)
    if not os.path.lexists(path) or repl.reader.confirm(f"{path} exists; replace it?"):
        save_copy(path, conversation, model=repl.chat.model.name)
        repl.env.say(f"saved to {path}; /load and g4 chat --messages read it")


def _load(repl: Repl, rest: str) -> None:
    path = one_file_after(repl, "/load", rest)
    if path is None:
        return
    repl.replace_with(read_conversation(path))
    turns = turns_of(repl.chat.history)
    repl.env.say(f"{path}: {turns_text(turns)}")
    if repl.chat.history[-1].role in ("user", "tool"):
        repl.answer(lambda: repl.chat.reply(repl.options), needs=1)


def _stats(repl: Repl, rest: str) -> None:
    repl.env.say(statistics(repl.last) if repl.last else "no complete answer yet")


def _context(repl: Repl, rest: str) -> None:
    use = repl.use
    if use is None:
        repl.env.say("no turns yet")
        return
    turns = turns_of(repl.chat.history)
    repl.env.say(
        f"{use.tokens:,} of {use.limit:,} tokens ({100 * use.tokens // use.limit} %), "
        f"{turns_text(turns)}"
    )


def _clear(repl: Repl, rest: str) -> None:
    before = repl.autosave.name if repl.autosave.is_on_disk else None
    repl.autosave.save_computed(repl.chat)
    repl.chat.clear()
    repl.attached_media.clear()
    repl.attached_texts.clear()
    repl.measure_context()
    repl.autosave.start_new()
    repl.autosave.continue_computed(repl.chat)
    repl.env.say(
        "new conversation"
        if before is None
        else f"new conversation; the previous one is saved as {before}"
    )


def _help(repl: Repl, rest: str) -> None:
    calls = {f"/{name} {command.takes}".rstrip(): command for name, command in COMMANDS.items()}
    width = max(map(len, calls)) + 2
    lines = [f"{call:<{width}}{command.does}" for call, command in calls.items()]
    repl.env.say("\n".join([*lines, _KEYS]))


def _exit(repl: Repl, rest: str) -> None:
    repl.close()


def _among(*choices: str) -> Choices:
    return lambda: choices


_NONE = _among()


_HABITS = {
    "exit": "bye quit q",
    "help": "? h commands",
    "clear": "new reset",
    "context": "show info tokens",
    "system": "set instructions prompt",
    "retry": "regen regenerate again",
    "undo": "back pop",
    "file": "read text",
    "image": "img picture photo",
    "attach": "add",
    "stats": "verbose timings",
}
"""What other programs call a command."""


def _command(takes: str, does: str, run: Run, choices: Choices | None = _NONE) -> Command:
    return Command(takes=takes, does=does, run=run, choices=choices)


COMMANDS: dict[str, Command] = {
    "attach": _command("FILE...", "attach images, audio or videos", attach_as(None), None),
    "image": _command(
        "FILE... [--pages 1-3|all]",
        "attach images to the next question",
        attach_as("image"),
        None,
    ),
    "audio": _command("FILE...", "attach audio to the next question", attach_as("audio"), None),
    "video": _command("FILE...", "attach videos to the next question", attach_as("video"), None),
    "mic": _command("[DEVICE]", "record a clip, until Enter or a pause", attach_recording),
    "file": _command("FILE...", "attach text files to the next question", attach_text, None),
    "system": _command("[TEXT|off]", "set, remove or show the system prompt", _system),
    "think": _command(
        "[on|off|show|hide]",
        "think before answering; show the thoughts",
        _think,
        _among("on", "off", "show", "hide"),
    ),
    "budget": _command(
        "[N|auto]", "soft tokens per image", _budget, _among("auto", *map(str, SOFT_TOKEN_BUDGETS))
    ),
    "model": _command("NAME", "continue with another model", _model, _model_names),
    "adapter": _command(
        "[NAME|none]", "continue with another adapter of the model", _adapter, _adapter_names
    ),
    "undo": _command("", "remove the last turn", _undo),
    "retry": _command("", "generate the last answer again", _retry),
    "drop": _command("", "drop the oldest turn", _drop),
    "copy": _command("[code]", "copy the answer, or its last code block", _copy, _among("code")),
    "save": _command("FILE", "save the conversation to a file", _save, None),
    "load": _command("FILE", "continue the conversation in a file", _load, None),
    "stats": _command("", "tokens and speed of the last answer", _stats),
    "context": _command("", "how full the context is", _context),
    "clear": _command("", "start over, keeping the system prompt", _clear),
    "help": _command("", "list all commands", _help),
    "exit": _command("", "leave; so does Ctrl-D", _exit),
}
