"""``g4 transcribe``: speech of any length to text and subtitles."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from ...errors import OptionError
from ..environment import Environment
from ..run.options import RunOptions, runs_a_model
from .choices import Format, Shown

_SPEECH = "Speech"
_MICROPHONE = "Microphone"
_SUBTITLES = "Subtitles"


@runs_a_model
def transcribe(
    run: RunOptions,
    env: Environment,
    recordings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="AUDIO",
            help="Files with an audio track, or folders of them; - is standard input.",
        ),
    ] = None,
    format: Annotated[
        Format,
        typer.Option(
            "-f",
            "--format",
            help="Times are those of pieces of speech, not of words. "
            "all writes every format into the folder of -o.",
        ),
    ] = "txt",
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is spoken, such as German or de. (default: whatever it is)",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    translate_to: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Write a translation, such as to English or en; JSON has both texts.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    show: Annotated[
        Shown,
        typer.Option(
            help="With --translate-to: which text goes into txt, srt, vtt and tsv.",
            rich_help_panel=_SPEECH,
        ),
    ] = "translation",
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Names and terms that may come up, as they are spelled.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pieces to transcribe at once. (default: as memory allows)",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Pass over recordings whose files are there already."),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Start over, even where an interrupted run could go on."),
    ] = False,
    mic: Annotated[
        bool,
        typer.Option(
            "--mic",
            help="Write down what is said into the microphone, at each pause, until Ctrl-C.",
            rich_help_panel=_MICROPHONE,
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Number or part of the name. (default: the system's)",
            rich_help_panel=_MICROPHONE,
        ),
    ] = None,
    list_devices: Annotated[
        bool,
        typer.Option(
            "--list-devices",
            help="Show what can record, and leave.",
            rich_help_panel=_MICROPHONE,
        ),
    ] = False,
    max_line_width: Annotated[
        int | None,
        typer.Option(
            min=8,
            metavar="N",
            help="Characters in a line. (default: 42)",
            rich_help_panel=_SUBTITLES,
        ),
    ] = None,
    max_line_count: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Lines of a cue. (default: 2)", rich_help_panel=_SUBTITLES
        ),
    ] = None,
) -> None:
    """Write down what is said in recordings of any length.

    Speech is found, cut at pauses into pieces that the model takes, and
    written down greedily unless --temperature says otherwise.

    A run that was interrupted goes on where it was.
    """
    from ...languages import language_name
    from ...options import TranscribeOptions
    from ...subtitles.cues import CueStyle
    from .run import TranscribeRun
    from .sinks import TranscriptStyle

    if list_devices:
        show_devices(env)
        return
    if mic == bool(recordings):
        raise OptionError("name recordings, or ask for the microphone with --mic")
    if device is not None and not mic:
        raise OptionError("--device is for --mic")
    if run.think:
        raise OptionError("transcribe does not think: leave out --think")
    if run.json and format != "txt":
        raise OptionError("--json and --format exclude each other: -f json writes a file")
    spoken = None if language is None else language_name(language)
    usual = CueStyle()
    style = CueStyle(
        max_line_width=max_line_width or usual.max_line_width,
        max_line_count=max_line_count or usual.max_line_count,
    )
    asked = TranscribeRun(
        env=env,
        run=run,
        options=TranscribeOptions(
            language=spoken,
            translate_to=None if translate_to is None else language_name(translate_to),
            names=vocabulary,
            batch=batch,
        ),
        style=TranscriptStyle(language=spoken, style=style, shown=show),
        suffixes=_FORMATS if format == "all" else (format,),
        skip_existing=skip_existing,
        restart=restart,
    )
    if recordings:
        asked.files(recordings)
    else:
        asked.microphone(device)


def show_devices(env: Environment) -> None:
    """Every device that can record, its number first; the default one has a star."""
    from ...media.microphone import list_devices

    devices = list_devices()
    if not devices:
        env.say("no device can record")
    for each in devices:
        mark = "*" if each.is_default else " "
        env.echo(f"{mark}{each.index:3} {each.name}")


_FORMATS = tuple(name for name in get_args(Format) if name != "all")
