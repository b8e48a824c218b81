"""``g4 transcribe``: speech of any length to text and subtitles."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, cast, get_args

import typer

from ...errors import OptionError
from ..environment import Environment
from ..run.addresses import check_allowed
from ..run.common_options import allow_urls_option, file_names_option, restart_option, track_option
from ..run.model_command import is_typed
from ..run.options import RunOptions
from ..run.shards import shard_of, shard_option
from ..run.shared_options import runs_a_model_differently
from .choices import FORMATS, TEXT_SUFFIXES, Format, Shown, channels_of

_SPEECH = "Speech"
_MICROPHONE = "Microphone"
_SUBTITLES = "Subtitles"


@runs_a_model_differently(
    refused={
        "think": "transcription does not think",
        "stop": "a transcript ends where the speech does",
        "schema": "a transcript has its own formats; see --format",
        "pictures": "transcribe shows no pictures",
        "draft": "transcribe answers in batches, which a drafter does not make faster",
        "kv_bits": "the pieces of a transcript are too short for it to save memory",
    },
    helps={
        "max_tokens": "Maximum length of the text of one piece of speech. (default: 2048)",
        "temperature": "Sampling temperature. (default: 0, which is greedy)",
    },
)
def transcribe(
    context: typer.Context,
    run: RunOptions,
    env: Environment,
    recordings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="AUDIO",
            help="Files with an audio track or folders of them; - is standard input.",
        ),
    ] = None,
    format: Annotated[
        Format,
        typer.Option(
            "-f",
            "--format",
            metavar="FORMAT",
            help="txt, srt, vtt, tsv, json or all; all writes every format to the folder given "
            "with -o. Timestamps are per piece of speech, not per word.",
        ),
    ] = "txt",
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Language spoken, such as German or de. (default: left to the model)",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    translate_to: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Translate into this language, such as English or en; JSON has both texts.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    show: Annotated[
        Shown,
        typer.Option(
            metavar="TEXT",
            help="With --translate-to, the text in txt, srt, vtt and tsv: translation or original.",
            rich_help_panel=_SPEECH,
        ),
    ] = "translation",
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Names and terms that may occur, in their correct spelling.",
            rich_help_panel=_SPEECH,
        ),
    ] = None,
    track: Annotated[
        str | None,
        track_option(
            _SPEECH, default="the file's, in the language given with --language if there is one"
        ),
    ] = None,
    channels: Annotated[
        str,
        typer.Option(
            metavar="CHANNELS",
            help="mix; separate, which transcribes each channel of a call for itself; or the "
            "number of one.",
            rich_help_panel=_SPEECH,
        ),
    ] = "mix",
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
        typer.Option(
            "--skip-existing", help="Skip recordings whose transcripts are already written."
        ),
    ] = False,
    restart: Annotated[bool, restart_option()] = False,
    shard: Annotated[str | None, shard_option("recordings")] = None,
    file_names: Annotated[bool, file_names_option()] = False,
    segments: Annotated[
        bool,
        typer.Option(
            "--segments",
            help="With --json, a line for each segment as it finishes, as with --mic, and then one "
            "for the rest; otherwise there is one line per recording.",
        ),
    ] = False,
    allow_urls: Annotated[bool, allow_urls_option()] = False,
    mic: Annotated[
        bool,
        typer.Option(
            "--mic",
            help="Transcribe the microphone, writing at each pause, until Ctrl-C.",
            rich_help_panel=_MICROPHONE,
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Microphone: its number or part of its name. (default: the system's)",
            rich_help_panel=_MICROPHONE,
        ),
    ] = None,
    list_devices: Annotated[
        bool,
        typer.Option(
            "--list-devices",
            help="List the microphones and exit.",
            rich_help_panel=_MICROPHONE,
        ),
    ] = False,
    max_line_width: Annotated[
        int | None,
        typer.Option(
            min=8,
            metavar="N",
            help="Columns per line; wide characters take two. (default: 42)",
            rich_help_panel=_SUBTITLES,
        ),
    ] = None,
    max_line_count: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Lines per cue. (default: 2)", rich_help_panel=_SUBTITLES
        ),
    ] = None,
) -> None:
    """Transcribe recordings of any length.

    Speech is detected, cut at pauses into pieces that fit the model, and decoded greedily unless
    --temperature is given.

    An interrupted run resumes where it stopped.
    """
    from ...languages import language_name
    from ...options import TranscribeOptions
    from ...subtitles.cues import CueStyle
    from .run import TranscribeRun
    from .sinks import TranscriptStyle

    if list_devices:
        show_devices(env, as_json=run.json)
        return
    if mic == bool(recordings):
        raise OptionError("pass either recordings or --mic")
    check_allowed(allow_urls=allow_urls, offline=run.offline)
    if device is not None and not mic:
        raise OptionError("--device is for --mic")
    if mic and (track is not None or channels != "mix"):
        raise OptionError("--track and --channels are for recordings, not for --mic")
    run, format = _with_suffix(run, format, typed=is_typed(context, "format"))
    if segments and not run.json:
        raise OptionError("--segments is for --json to standard output or one file")
    if file_names and (mic or not run.json):
        raise OptionError("--file-names is for JSON lines about files: add -o FILE.jsonl or --json")
    spoken = None if language is None else language_name(language)
    default = CueStyle()
    style = CueStyle(
        max_line_width=max_line_width or default.max_line_width,
        max_line_count=max_line_count or default.max_line_count,
    )
    transcription = TranscribeRun(
        env=env,
        run=run,
        options=TranscribeOptions(
            language=spoken,
            translate_to=None if translate_to is None else language_name(translate_to),
            names=vocabulary,
            track=track,
            channels=channels_of(channels),
            batch=batch,
        ),
        style=TranscriptStyle(
            language=spoken, style=style, shown=show, translated=translate_to is not None
        ),
        suffixes=FORMATS if format == "all" else (format,),
        skip_existing=skip_existing,
        restart=restart,
        by_segment=segments,
        fetches=allow_urls,
        file_names=file_names,
        shard=shard_of(shard),
    )
    if recordings:
        transcription.files(recordings)
    else:
        transcription.microphone(device)


def show_devices(env: Environment, *, as_json: bool) -> None:
    """Print every device that can record after its number; the default one has a star."""
    from ...media.sound.microphone import list_devices
    from ..output.results import write_json

    devices = list_devices()
    if as_json:
        for each in devices:
            record = {"index": each.index, "name": each.name, "default": each.is_default}
            write_json(env.stdout, record)
        return
    if not devices:
        env.say("no device can record")
    for each in devices:
        mark = "*" if each.is_default else " "
        env.echo_row(f"{mark}{each.index:3} {each.name}")


def _with_suffix(run: RunOptions, format: Format, *, typed: bool) -> tuple[RunOptions, Format]:
    """The options with what the suffix of ``-o`` says; it has precedence over a setting.

    Raises OptionError if it contradicts --format.
    """
    from ..run.targets import LINES_SUFFIXES, check_no_format, is_folder, suffix_of

    if not typed:
        check_no_format(run.output, get_args(Format))
    suffix = suffix_of(run.output)
    if run.json and is_folder(run.output) and (format == "json" or not typed):
        # A file for each recording, as in every command.
        return replace(run, json=False), "json"
    if run.json:
        if typed and format != "txt":
            raise OptionError("--json and --format exclude each other: -f json writes a file")
        return run, "txt"
    if suffix in LINES_SUFFIXES and not typed:
        return replace(run, json=True), "txt"
    named = suffix in FORMATS or suffix in LINES_SUFFIXES
    if typed and named and suffix != format:
        raise OptionError(f"{run.output}: is not a name for -f {format}; leave out one of them")
    if typed or format == "all":
        return run, format
    if suffix in FORMATS:
        return run, cast("Format", suffix)
    if suffix and suffix not in TEXT_SUFFIXES:
        known = ", ".join(FORMATS)
        raise OptionError(
            f"{run.output}: .{suffix} is not one of the formats ({known}); "
            "-f txt writes text to a file of this name"
        )
    return run, format
