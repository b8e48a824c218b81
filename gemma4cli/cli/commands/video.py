"""``g4 video``: questions about clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..environment import Environment
from ..run.options import RunOptions, runs_a_model
from ..run.time_options import time_option

if TYPE_CHECKING:
    from ...engine.model import LoadedModel
    from ...events import Event
    from ...messages import Source


@runs_a_model
def video(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP", help="Video files; - is standard input.")
    ],
    run: RunOptions,
    env: Environment,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="What to ask about the video."),
    ] = None,
    video_max_frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of frames to look at. (default: the model's, 32)",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            max=1000, metavar="FPS", help="Frames per second, up to the maximum number of frames."
        ),
    ] = None,
    start: Annotated[
        float, time_option("--from", "Where to start: seconds, or a time such as 1:30.")
    ] = 0,
    end: Annotated[float | None, time_option("--to", "Where to stop. (default: the end)")] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Soft tokens per frame: 70, 140, 280, 560 or 1120. (default: the model's, 70)",
        ),
    ] = None,
    save_frames: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the sampled frames, named by their times, and a contact sheet.",
        ),
    ] = None,
    segment: Annotated[
        float | None,
        time_option(
            "--segment",
            "For long videos: answer for each segment of this length, such as 5m, then for the "
            "whole from those answers.",
        ),
    ] = None,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Let the model hear the sound.")
    ] = True,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="TRACK",
            help="Audio track of a file with several: its number, or its language, such as de. "
            "(default: the file's)",
        ),
    ] = None,
) -> None:
    """Describe videos, or answer a question about them.

    The model sees frames with their times and, if it supports audio, hears the sound. A clip longer
    than it can hear at once is split into equal spans, each with its frames before its sound.
    """
    from ... import api
    from ...media.sources import settle
    from ...options import MediaOptions
    from ...prompts import DESCRIBE_VIDEO
    from ..run.runner import run_each, source_of
    from .video_frames import saving_frames

    if segment is not None:
        from ...conversations.video_segments import check_seconds

        check_seconds(segment)
    media = MediaOptions(
        video_budget=budget,
        video_max_frames=video_max_frames,
        video_fps=fps,
        video_start=start,
        video_end=end,
        video_sound=audio,
        track=track,
    )
    options = run.generate_options()

    def answer(model: LoadedModel, number: int) -> Iterator[Event]:
        source = source_of(clips[number])
        folder = None
        if save_frames is not None or segment is not None:
            source = settle(source)
        if save_frames is not None:
            folder = save_frames / _name_of(source) if len(clips) > 1 else save_frames
        if segment is not None:
            events = api.stream_segments(
                model, source, segment, question=prompt, options=options, media=media
            )
        else:
            events = api.stream_generate(
                model, prompt or DESCRIBE_VIDEO, videos=[source], options=options, media=media
            )
        if folder is None:
            return events
        return saving_frames(events, source, folder, segmented=segment is not None)

    run_each(env, run, clips, answer, needed=[source_of(clips[0])] if len(clips) == 1 else ())


def _name_of(source: Source) -> str:
    return "stdin" if source.path is None else source.path.name
