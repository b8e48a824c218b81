"""Where ``g4 chat`` saves conversations, and which of them the command line selects."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...conversations.file import Conversation
from ...conversations.prompt_cache import prompt_cache_limit, prompt_cache_of
from ...conversations.saved_list import (
    SavedSummary,
    drop_prompt_caches,
    list_saved,
    remove_abandoned,
)
from ...conversations.store import SavedConversation, check_name
from ...errors import OptionError, SavedConversationError, unexpected
from ...messages import Message
from ...options import GenerateOptions, MediaOptions
from ..environment import Environment
from ..output.exit_codes import ExitCode
from ..output.numbers import turns_text
from ..output.results import write_json

if TYPE_CHECKING:
    from ...conversations.chat import Chat
    from ...engine.answering import AnsweringModel

_WORDS_SHOWN = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """Which saved conversation to continue, if any, and whether to save anything.

    ``prompt_cache`` is a file for what is computed of prompts; a saved conversation has its own.
    """

    continue_last: bool = False
    name: str | None = None
    no_log: bool = False
    prompt_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.no_log and self.prompt_cache is not None:
            raise OptionError("--no-log saves nothing: leave out --prompt-cache")
        if self.no_log and (self.continue_last or self.name is not None):
            raise OptionError("--no-log saves nothing: leave out --session and --continue")
        if self.continue_last and self.name is not None:
            raise OptionError("pass either --session or --continue, not both")


class Autosave:
    """Saves a conversation turn by turn. A disk error is reported once; the chat continues."""

    def __init__(
        self,
        env: Environment,
        saved: SavedConversation | None,
        *,
        prompt_cache: Path | None = None,
        quiet: bool = False,
        debug: bool,
    ) -> None:
        self._env = env
        self._saved = saved
        self._prompt_cache = prompt_cache
        self._quiet = quiet
        self._debug = debug
        self._failed = False

    @property
    def name(self) -> str | None:
        """The name of the conversation; None if it is not saved."""
        return None if self._saved is None or self._failed else self._saved.name

    @property
    def is_on_disk(self) -> bool:
        """Whether at least one turn is saved."""
        return self.name is not None and self._saved is not None and self._saved.path.exists()

    def read(self) -> Conversation | None:
        """The conversation before this run. Raises ConversationError."""
        return None if self._saved is None else self._saved.read()

    @property
    def model(self) -> str | None:
        """The model that answered last before this run."""
        return None if self._saved is None else self._saved.model

    def save(self, chat: Chat, *, think: bool) -> None:
        """Write the conversation to disk."""
        if self._saved is None or self._failed:
            return
        try:
            self._saved.write(conversation_of(chat, think=think), model=chat.model.name)
        except SavedConversationError as error:
            self._failed = True
            self._env.say_error(error, debug=self._debug)
        except Exception as error:  # noqa: BLE001 - the next turn may be saved, with this one
            self._env.say_error(unexpected(error), debug=self._debug)

    @property
    def shares_prompts(self) -> bool:
        """Whether prompts that only begin alike share what is computed of them."""
        return self._prompt_cache is not None

    def continue_computed(self, chat: Chat) -> None:
        """Let a chat continue from what was computed before. Raises OptionError."""
        path = self._prompt_cache
        if path is None and self._saved is not None and not self._failed:
            path = self._saved.prompt_cache
        if path is not None:
            found = prompt_cache_of(chat.model, path, shared=self.shares_prompts)
            if found is not None:
                chat.use_prompt_cache(found)

    def save_computed(self, chat: Chat) -> None:
        """Write what was computed, once per conversation: it only saves time."""
        if not (self.shares_prompts or self.is_on_disk):
            return
        problem = chat.write_prompt_cache()
        if problem is not None and not self._quiet:
            self._env.say(problem)
        if self._saved is not None and not self.shares_prompts:
            sessions = self._env.sessions_folder
            drop_prompt_caches(sessions, prompt_cache_limit(), self._saved.prompt_cache)

    def start_new(self) -> None:
        """Save the next turns as a new conversation; the current one stays on disk."""
        if self._saved is None:
            return
        self._saved.close()
        self._saved = _new(self._env)

    def close(self) -> None:
        """Unlock the conversation."""
        if self._saved is not None:
            self._saved.close()


@contextmanager
def opened_autosave(
    env: Environment, options: SessionOptions, *, always: bool, quiet: bool = False, debug: bool
) -> Iterator[Autosave]:
    """The conversation that the options select; with ``always``, a new one if they select none.

    Raises OptionError if there is none to continue, SavedConversationError for a conversation
    that another process has open.
    """
    prompt_cache_limit()  # or else a wrong value would be found after the first answer
    remove_abandoned(env.sessions_folder)
    if options.name is not None:
        check_name(options.name)
        saved: SavedConversation | None = SavedConversation(env.sessions_folder / options.name)
    elif options.continue_last:
        known = list_saved(env.sessions_folder)
        if not known:
            raise OptionError("there is no conversation to continue")
        last, newest = known[0], max(known, key=lambda each: each.used)
        if newest.problem is not None and last is not newest:
            env.say(f"{newest.problem}; continuing {last.name}")
        saved = SavedConversation(env.sessions_folder / last.name)
    else:
        saved = _new(env) if always and not options.no_log else None
    autosave = Autosave(env, saved, prompt_cache=options.prompt_cache, quiet=quiet, debug=debug)
    try:
        yield autosave
    finally:
        autosave.close()


def _new(env: Environment) -> SavedConversation | None:
    try:
        return SavedConversation.create(env.sessions_folder)
    except SavedConversationError as error:
        env.say_error(error)
        return None


def conversation_of(chat: Chat, *, think: bool) -> Conversation:
    """A chat as data for a conversation file."""
    return Conversation(
        messages=chat.history,
        think=think,
        max_soft_tokens=chat.media.budget,
        video_max_frames=chat.media.video_max_frames,
        tools=chat.tools,
    )


def chat_of(
    model: AnsweringModel,
    before: Conversation | None,
    *,
    system: str | None,
    media: MediaOptions,
    tools: Sequence[Mapping[str, Any]] = (),
) -> tuple[Chat, tuple[Message, ...]]:
    """A chat that continues ``before``, and the messages that it still has to load for that.

    ``system`` replaces the system prompt of ``before``, and ``tools`` replace its tools.
    """
    from ...conversations.chat import Chat

    if before is None:
        return Chat(model, system=system, media=media, tools=tools), ()
    messages = before.messages
    if system:
        messages = tuple(message for message in messages if message.role != "system")
    chat = Chat(
        model, system=system, media=media_options(media, before), tools=tools or before.tools
    )
    return chat, messages


def media_options(media: MediaOptions, conversation: Conversation) -> MediaOptions:
    """The options, with the conversation's values for those that are not given."""
    return replace(
        media,
        budget=media.budget or conversation.max_soft_tokens,
        video_max_frames=media.video_max_frames or conversation.video_max_frames,
    )


def resumed_options(options: GenerateOptions, before: Conversation | None) -> GenerateOptions:
    """The options, with the conversation's thinking mode; answers by a schema have no thoughts."""
    thinks = before is not None and before.think and options.schema is None
    return replace(options, think=options.think or thinks)


def show_saved(env: Environment, *, as_json: bool, debug: bool) -> None:
    """Print every saved conversation, the one used last first.

    Exits with 5 if g4 did not expect what is in one of them.
    """
    known = list_saved(env.sessions_folder)
    if as_json:
        for each in known:
            write_json(
                env.stdout,
                {
                    "name": each.name,
                    "used": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(each.used)),
                    "turns": each.turns,
                    "first_words": each.first_words,
                    "model": each.model,
                    **({} if each.problem is None else {"problem": each.problem}),
                },
            )
        _report_damaged(env, [each for each in known if each.fault is not None], debug=debug)
        return
    if not known:
        env.say(f"no saved conversations in {env.sessions_folder}")
    width = max((len(each.name) for each in known), default=0)
    for each in known:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.used))
        words = each.first_words
        if len(words) > _WORDS_SHOWN:
            words = f"{words[: _WORDS_SHOWN - 1]}…"
        line = f"{each.name:{width}}  {used}  {each.turns:4} turn{'s' if each.turns != 1 else ' '}"
        env.echo_row(f"{line}  {words}".rstrip())
    _report_damaged(env, [each for each in known if each.problem is not None], debug=debug)


def _report_damaged(env: Environment, damaged: Sequence[SavedSummary], *, debug: bool) -> None:
    for each in damaged:
        if each.fault is not None:
            env.say_error(each.fault, about=each.name, debug=debug)
        else:
            env.say(f"{each.problem}; g4 chat --delete {shlex.quote(each.name)} removes it")
    if any(each.fault is not None for each in damaged):
        raise typer.Exit(ExitCode.SOME_FAILED)


def delete_saved(env: Environment, name: str, *, yes: bool, quiet: bool) -> None:
    """Delete a saved conversation and its media, asking first unless ``yes``.

    Raises OptionError if there is none, SavedConversationError if another process has it open.
    """
    found = next((each for each in list_saved(env.sessions_folder) if each.name == name), None)
    if found is None:
        raise OptionError(f"no conversation is named {name}; g4 chat --list shows all")
    if not yes and not env.can_ask:
        raise OptionError("not a terminal; pass --yes to delete it")
    with SavedConversation(env.sessions_folder / name) as saved:
        if not yes:
            words = f": {found.first_words}" if found.first_words else ""
            env.say(f"{name}, {turns_text(found.turns)}{words}")
            if not env.confirm("Delete it?"):
                env.say("nothing deleted")
                raise typer.Exit(ExitCode.FAILED)
        is_gone = saved.delete()
    if not is_gone:
        env.say(f"deleted {name}; what g4 did not write is still in {env.sessions_folder / name}")
    elif not quiet:
        env.say(f"deleted {name}")


def turns_of(messages: Sequence[Message]) -> int:
    """The number of user messages."""
    return sum(message.role == "user" for message in messages)
