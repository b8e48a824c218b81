"""``g4 chat``: a conversation, or one answer in a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import OptionError
from ..environment import Environment
from ..run.budgets import BudgetChoice, budget_option
from ..run.options import ModelCommand, RunOptions, is_set_in_file, runs_a_model

if TYPE_CHECKING:
    from ...messages import Part
    from .one_turn import ChatOptions

_SESSION = "Session"
_MEDIA = "Media"


class ChatCommand(ModelCommand):
    """Records the order of options, which click does not keep across different options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self.check_options(ctx, args)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["order"] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def attachments(order: Sequence[str], files: Mapping[str, Sequence[str]]) -> list[Part]:
    """The media on the command line in their order; ``files`` has those of each kind."""
    from ..run.runner import source_of
    from .attachments import MEDIA_PARTS

    remaining = {kind: iter(names) for kind, names in files.items()}
    return [
        MEDIA_PARTS[kind](source_of(next(remaining[kind]))) for kind in order if kind in remaining
    ]


@runs_a_model
def chat(
    context: typer.Context,
    run: RunOptions,
    env: Environment,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="Ask this, print the answer and exit."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Attach an image (repeatable).", rich_help_panel=_MEDIA),
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Attach an audio file (repeatable).", rich_help_panel=_MEDIA
        ),
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Attach a video (repeatable).", rich_help_panel=_MEDIA),
    ] = None,
    mic: Annotated[
        bool,
        typer.Option(
            "--mic", help="Record a clip first, until Enter or a pause.", rich_help_panel=_MEDIA
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Microphone: its number or part of its name. (default: the system's)",
            rich_help_panel=_MEDIA,
        ),
    ] = None,
    budget: Annotated[BudgetChoice | None, budget_option(_MEDIA)] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions for the whole conversation.")
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answer the conversation in a JSON file and exit."),
    ] = None,
    hide_thoughts: Annotated[
        bool, typer.Option("--hide-thoughts", help="Do not show the model's thoughts.")
    ] = False,
    continue_last: Annotated[
        bool,
        typer.Option(
            "-c", "--continue", help="Continue the last conversation.", rich_help_panel=_SESSION
        ),
    ] = False,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Continue the conversation of this name, or start it.",
            rich_help_panel=_SESSION,
        ),
    ] = None,
    list_sessions: Annotated[
        bool,
        typer.Option("--list", help="List saved conversations.", rich_help_panel=_SESSION),
    ] = False,
    delete: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Delete a saved conversation, after confirmation.",
            rich_help_panel=_SESSION,
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "-y", "--yes", help="Skip the confirmation of --delete.", rich_help_panel=_SESSION
        ),
    ] = False,
    no_log: Annotated[
        bool,
        typer.Option(
            "--no-log",
            help="Save neither history nor conversation. (also: G4_NO_LOG=1)",
            rich_help_panel=_SESSION,
        ),
    ] = False,
) -> None:
    """Chat with the model, or ask it one question.

    Without -p, and with a terminal to type at, a conversation starts; it is saved, and -c continues
    it. With -p or text on stdin there is one answer. With both, -p is the instruction and stdin the
    text it applies to. The exchange is saved only with -c or --session.
    """
    from ...options import MediaOptions
    from .one_turn import ChatOptions, answer_file, ask, question
    from .sessions import SessionOptions, delete_saved, opened_autosave, show_saved

    if list_sessions:
        show_saved(env, as_json=run.json)
        return
    if yes and delete is None:
        raise OptionError("--yes is for --delete")
    if delete is not None:
        delete_saved(env, delete, yes=yes, quiet=run.quiet)
        return
    session_options = SessionOptions(continue_last=continue_last, name=session, no_log=no_log)
    media = attachments(
        context.meta["order"], {"image": image or [], "audio": audio or [], "video": video or []}
    )
    if device is not None and not mic:
        raise OptionError("--device is for --mic")
    if messages is not None and (prompt or system or media or mic):
        raise OptionError(
            "--messages holds the whole conversation: leave out -p, --system, media and --mic"
        )
    one_turn = messages is not None or prompt is not None or not env.stdin.isatty()
    if not one_turn and (run.json or run.output is not None):
        raise OptionError("--json and --output need a question: pass -p")
    with opened_autosave(env, session_options, always=not one_turn, debug=run.debug) as autosave:
        # A saved conversation's model has precedence over that of a settings file only.
        named = None if is_set_in_file(context, "model") else run.model
        options = ChatOptions(
            env=env,
            run=replace(run, model=named or autosave.model or run.model),
            autosave=autosave,
            media=MediaOptions(budget=budget),
            system=system,
            hide_thoughts=hide_thoughts,
        )
        if messages is not None:
            answer_file(options, messages)
        elif one_turn:
            text = question(env, prompt, media)
            ask(options, text, [*media, *_recorded(env, mic, device)])
        else:
            _converse(options, media, mic=mic, device=device, history=not no_log)


def _recorded(env: Environment, mic: bool, device: str | None) -> list[Part]:
    if not mic:
        return []
    from .microphone import record_part

    return [record_part(env, device)]


def _converse(
    options: ChatOptions,
    media: Sequence[Part],
    *,
    mic: bool,
    device: str | None,
    history: bool,
) -> None:
    """Start or continue a conversation at the terminal."""
    from .loop import converse
    from .prompt_input import Reader
    from .repl import Repl

    repl = Repl.start(options, Reader(options.env, history=history), media, device=device)
    repl.attached_media += _recorded(options.env, mic, device)
    converse(repl)
