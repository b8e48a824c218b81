"""``g4 chat``: a conversation, or one answer in a pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ..conversation import read_conversation
from ..errors import ConversationError, OptionError
from ..events import Event
from ..messages import AudioPart, ImagePart, Part, Source, TextPart, VideoPart
from .run_options import RunOptions, runs_a_model
from .runner import load_model, run_each, source_of
from .terminal import is_terminal

if TYPE_CHECKING:
    from ..engine.model import LoadedModel

MEDIA_PARTS: Mapping[str, Callable[[Source], Part]] = {
    "image": lambda source: ImagePart(source=source),
    "audio": lambda source: AudioPart(source=source),
    "video": lambda source: VideoPart(source=source),
}
"""What a flag (``--image``), or a command of the conversation (``/image``), attaches."""


class ChatCommand(TyperCommand):
    """Keeps the order in which options were typed; those of different names lose it otherwise."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["order"] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def attachments(order: Sequence[str], files: Mapping[str, Sequence[str]]) -> list[Part]:
    """The media that a command line names, in its order; ``files`` are those of each kind."""
    waiting = {kind: iter(named) for kind, named in files.items()}
    return [MEDIA_PARTS[kind](source_of(next(waiting[kind]))) for kind in order if kind in waiting]


def in_card_order(text: str, media: Sequence[Part]) -> tuple[Part, ...]:
    """Images and videos before the text, audio behind it, as the model card wants them."""
    heard = [part for part in media if isinstance(part, AudioPart)]
    seen = [part for part in media if not isinstance(part, AudioPart)]
    return (*seen, TextPart(text=text), *heard)


@runs_a_model
def chat(
    context: typer.Context,
    run: RunOptions,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="Ask this, answer and end."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Show an image; may be given again."),
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Play a clip; may be given again."),
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Show a video; may be given again."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions for the whole conversation.")
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answer the conversation in a JSON file and end."),
    ] = None,
) -> None:
    """Talk with the model, or put one question to it.

    Without -p, and with a terminal to type at, a conversation begins. With -p or with text from a
    pipe there is one answer; given both, -p is the instruction and the pipe its material.
    """
    media = attachments(
        context.meta["order"], {"image": image or [], "audio": audio or [], "video": video or []}
    )
    if messages is not None:
        if prompt or system or media:
            raise OptionError("--messages brings the whole conversation: give it alone")
        _answer_file(run, messages)
        return
    if prompt is None and is_terminal(sys.stdin):
        if run.json or run.output is not None:
            raise OptionError("--json and --output need a question: give -p")
        from ..session import Chat
        from .repl import converse

        converse(Chat(load_model(run), system=system), media, run)
        return
    text = _asked(prompt, media)

    def answer(model: LoadedModel, given: str) -> Iterator[Event]:
        from ..session import Chat

        return Chat(model, system=system).send(in_card_order(text, media), run.generate_options())

    run_each(run, [text], answer)


def _asked(prompt: str | None, media: Sequence[Part]) -> str:
    """The question: -p, and what a pipe brings unless a medium takes it."""
    media_from_stdin = any(
        not isinstance(part, TextPart) and part.source is not None and part.source.name == "-"
        for part in media
    )
    material = ""
    if not media_from_stdin and sys.stdin is not None and not is_terminal(sys.stdin):
        material = _piped_text()
    asked = "\n\n".join(text for text in (prompt, material) if text)
    if not asked:
        raise OptionError("nothing was asked: give -p TEXT, or text on standard input")
    return asked


def _piped_text() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as exc:
        raise ConversationError(
            "standard input is no text: a picture or a sound goes in with --image - or --audio -"
        ) from exc


def _answer_file(run: RunOptions, path: Path) -> None:
    conversation = read_conversation(path)
    options = run.generate_options()
    options = replace(options, think=options.think or conversation.think)

    def answer(model: LoadedModel, given: str) -> Iterator[Event]:
        from ..session import Chat

        loaded = Chat(model, media=conversation.media, tools=conversation.tools)
        yield from loaded.load(conversation.messages)
        yield from loaded.reply(options)

    run_each(run, [str(path)], answer)
