"""``g4 chat``: a conversation, or one answer in a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...distributed.launch import processes
from ...errors import OptionError
from ..environment import Environment
from ..run.addresses import check_allowed
from ..run.budgets import BudgetChoice, budget_option
from ..run.common_options import allow_urls_option, track_option
from ..run.model_command import ModelCommand, is_set_in_file
from ..run.options import RunOptions
from ..run.pages import pages_of, pages_option
from ..run.shared_options import runs_a_model

if TYPE_CHECKING:
    from ...messages import Part
    from .one_turn import ChatOptions

_FUNCTIONS = "Functions"
_SESSION = "Session"
_MEDIA = "Media"


class ChatCommand(ModelCommand):
    """Records the order of options, which click does not keep across different options."""

    def before_parsing(self, ctx: Any, args: list[str]) -> None:
        super().before_parsing(ctx, args)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["order"] = [parameter.name for parameter in order]


def attachments(
    order: Sequence[str], files: Mapping[str, Sequence[str]], *, fetches: bool
) -> list[Part]:
    """The media on the command line in their order.

    ``files`` has those of each kind, and under "attach" those whose kind is in them. Addresses are
    fetched if g4 ``fetches``. Raises MediaError.
    """
    from .attachments import part_of

    remaining = {option: iter(names) for option, names in files.items()}
    return [
        part_of(option, next(remaining[option]), fetches=fetches)
        for option in order
        if option in remaining
    ]


@runs_a_model
def chat(
    context: typer.Context,
    run: RunOptions,
    env: Environment,
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="The same as -p.", show_default=False)
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="Ask this, print the answer and exit."),
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            "-a",
            "--attach",
            metavar="FILE",
            help="Attach an image, audio file or video (repeatable); - is standard input.",
            rich_help_panel=_MEDIA,
        ),
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
    file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Attach a text file (repeatable).", rich_help_panel=_MEDIA
        ),
    ] = None,
    allow_urls: Annotated[bool, allow_urls_option(_MEDIA)] = False,
    track: Annotated[str | None, track_option(_MEDIA)] = None,
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
    pages: Annotated[str | None, pages_option(_MEDIA)] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions for the whole conversation.")
    ] = None,
    messages: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Answer the conversation in a JSON file and exit; with -p, ask what follows it.",
        ),
    ] = None,
    hide_thoughts: Annotated[
        bool, typer.Option("--hide-thoughts", help="Do not show the model's thoughts.")
    ] = False,
    functions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Let the model call the functions of a Python file (repeatable). The file is "
            "executed; each call is shown, and asked about.",
            rich_help_panel=_FUNCTIONS,
        ),
    ] = None,
    yes_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Run calls of this function without asking (repeatable).",
            rich_help_panel=_FUNCTIONS,
        ),
    ] = None,
    max_rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How often the model may call functions before it must answer. (default: 8)",
            rich_help_panel=_FUNCTIONS,
        ),
    ] = None,
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
    prompt_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep what is computed of the prompt in FILE, for prompts that begin alike: the "
            "question goes after attached text. A saved conversation does it by itself.",
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
    from ...media.near_names import existing
    from ...options import MediaOptions
    from .attachments import with_pages_of_images
    from .material import texts_of, with_attached_text
    from .one_turn import ChatOptions, answer_file, ask, say_not_attached
    from .one_turn import question as whole_question
    from .sessions import SessionOptions, delete_saved, opened_autosave, show_saved

    if list_sessions:
        show_saved(env, as_json=run.json, debug=run.debug)
        return
    if yes and delete is None:
        raise OptionError("--yes is for --delete")
    if delete is not None:
        delete_saved(env, delete, yes=yes, quiet=run.quiet)
        return
    if question is not None:
        if prompt is not None:
            raise OptionError("pass the question once: as QUESTION or with -p")
        prompt = question
    session_options = SessionOptions(
        continue_last=continue_last,
        name=session,
        no_log=no_log,
        prompt_cache=None if prompt_cache is None else Path(os.path.realpath(prompt_cache)),
    )
    check_allowed(allow_urls=allow_urls, offline=run.offline)
    if device is not None and not mic:
        raise OptionError("--device is for --mic")
    if messages is not None and system:
        raise OptionError("--messages holds the whole conversation: leave out --system")
    names = {"attach": attach, "image": image, "audio": audio, "video": video}
    offered = None
    if functions or yes_to or max_rounds is not None:
        from .functions import function_options

        if run.schema is not None:
            raise OptionError("an answer by a schema cannot call functions: leave out one of them")
        offered = function_options(functions or [], yes_to or [], max_rounds)
    takes_stdin = [messages, *(each for given in names.values() for each in given or [])]
    if takes_stdin.count("-") > 1:
        raise OptionError("standard input is named twice; it can be read once")
    media = attachments(
        context.meta["order"],
        {option: given or [] for option, given in names.items()},
        fetches=allow_urls,
    )
    if pages is not None:
        media = with_pages_of_images(media, pages_of(pages))
    one_turn = messages is not None or prompt is not None or not env.stdin.isatty()
    if not one_turn and (run.json or run.output is not None):
        raise OptionError("--json and --output need a question: pass -p")
    if prompt_cache is not None:
        if run.server is not None:
            raise OptionError("--server: it keeps what it computes: leave out --prompt-cache")
        if processes(env.variables) > 1:
            raise OptionError("--prompt-cache: several processes keep none: leave it out")
        read = [
            messages,
            *(file or []),
            *(name for given in names.values() for name in given or []),
        ]
        _check_prompt_cache(env, run, prompt_cache, [Path(name) for name in read if name])
    with opened_autosave(
        env, session_options, always=not one_turn, quiet=run.quiet, debug=run.debug
    ) as autosave:
        # A saved conversation's model has precedence over that of a settings file only.
        named = None if is_set_in_file(context, "model") else run.model
        if run.server is None:
            run = replace(run, model=named or autosave.model or run.model)
        options = ChatOptions(
            env=env,
            run=run,
            autosave=autosave,
            media=MediaOptions(budget=budget, track=track),
            system=system,
            hide_thoughts=hide_thoughts,
            fetches=allow_urls,
            texts=[existing(Path(name)) for name in file or []],
            functions=offered,
        )
        texts = texts_of(env, file or [], quiet=run.quiet)
        if messages is None and not one_turn:
            _converse(options, media, texts, mic=mic, device=device, history=not no_log)
            return
        parts = [*media, *_recorded(env, mic, device)]
        if prompt and not run.quiet:
            say_not_attached(env, prompt, parts)
        if messages is not None:
            text = with_attached_text(prompt or "", texts, last=autosave.shares_prompts)
            answer_file(options, messages, text, parts)
        else:
            # The standard input of mlx.launch never ends.
            reads_stdin = "-" not in takes_stdin and processes(env.variables) == 1
            text = whole_question(options, prompt, texts, reads_stdin=reads_stdin)
            ask(options, text, parts)


def _check_prompt_cache(
    env: Environment, run: RunOptions, path: Path, read: Sequence[Path]
) -> None:
    """Raise OptionError for a place where no prompt cache can be, or that is something else's."""
    from ..output.writable import check_writable
    from ..run.protected import check_protected

    check_writable(path)
    check_protected(env, run, [path], read)


def _recorded(env: Environment, mic: bool, device: str | None) -> list[Part]:
    if not mic:
        return []
    from .microphone import record_part

    return [record_part(env, device)]


def _converse(
    options: ChatOptions,
    media: Sequence[Part],
    texts: Sequence[str],
    *,
    mic: bool,
    device: str | None,
    history: bool,
) -> None:
    """Start or continue a conversation at the terminal."""
    from .loop import converse
    from .prompt_input import Reader
    from .repl import Repl

    repl = Repl.start(
        options, Reader(options.env, history=history, debug=options.run.debug), media, device=device
    )
    repl.attached_texts += texts
    repl.attached_media += _recorded(options.env, mic, device)
    converse(repl)
