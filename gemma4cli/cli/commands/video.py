"""``g4 video``: questions about clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..._version import __version__
from ..environment import Environment
from ..run.addresses import check_allowed, opener
from ..run.common_options import allow_urls_option, restart_option, track_option
from ..run.inputs import Input, Kind, are_several
from ..run.names import absolute
from ..run.options import RunOptions
from ..run.shared_options import runs_a_model
from ..run.time_options import time_option

if TYPE_CHECKING:
    from ...engine.answering import AnsweringModel
    from ...events import Event, SegmentFinished


@runs_a_model
def video(
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP", help="Video files or folders of them; - is standard input."),
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
    restart: Annotated[bool, restart_option()] = False,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Let the model hear the sound.")
    ] = True,
    allow_urls: Annotated[bool, allow_urls_option()] = False,
    track: Annotated[str | None, track_option()] = None,
) -> None:
    """Describe videos, or answer a question about them.

    A question may follow the clips, without -p. The model sees frames with their times and, if it
    supports audio, hears the sound. A clip longer than it can hear at once is split into equal
    spans, each with its frames before its sound.
    """
    from ... import api
    from ...media.kinds import CLIP_SUFFIXES
    from ...media.sources import settle
    from ...options import MediaOptions
    from ...prompts import DESCRIBE_VIDEO
    from ..answers.run import run_each
    from ..answers.targets import AnswerRun, answer_target
    from ..output.writable import check_folder
    from ..run.protected import check_protected
    from ..run.shares import inputs
    from .kept_segments import keeping_segments
    from .video_frames import saving_frames

    check_allowed(allow_urls=allow_urls, offline=run.offline)
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
    kind = Kind(plural="videos", suffixes=CLIP_SUFFIXES)
    opened = opener(kind, fetches=allow_urls)
    found = inputs(clips, kind, env.say)
    several = are_several(found, clips)
    output = answer_target(run, several=several)
    output.target.check(env, run, found)

    def frames_of(clip: Input) -> Path | None:
        """The folder for its frames."""
        if save_frames is None:
            return None
        return save_frames / _folder_of(clip) if several else save_frames

    for folder in filter(None, map(frames_of, found)):
        check_folder(folder)
        check_protected(env, run, [folder / "frame"], [])

    question: dict[str, object] = {
        "command": "video",
        "arguments": [absolute(each) for each in clips],
        "prompt": prompt,
        "segment": segment,
        "frames": None if save_frames is None else absolute(str(save_frames)),
        "options": options.facts,
        "media": asdict(media),
    }

    def answer(model: AnsweringModel, number: int) -> Iterator[Event]:
        source = opened(found[number].source)
        folder = frames_of(found[number])
        if save_frames is not None or segment is not None:
            source = settle(source)
        if segment is not None:

            def ask(known: Sequence[SegmentFinished]) -> Iterator[Event]:
                return api.stream_segments(
                    model,
                    source,
                    segment,
                    question=prompt,
                    options=options,
                    media=media,
                    known=known,
                )

            job = {"g4": __version__, **model.identity, "question": question | {"arguments": ""}}
            kept = env.state_folder / "answers"
            events = keeping_segments(kept, job, source, ask, restart=restart)
        else:
            events = api.stream_generate(
                model, prompt or DESCRIBE_VIDEO, videos=[source], options=options, media=media
            )
        if folder is None:
            return events
        return saving_frames(events, source, folder, segmented=segment is not None)

    run_each(
        AnswerRun(
            env=env,
            run=output.run,
            names=[each.given for each in found],
            target=output.target,
            inputs=found,
            needed=() if several else [found[0].source],
            several=several,
            question=question if several else None,
            restart=restart,
            keeps_parts=segment is not None,
        ),
        answer,
    )


def _folder_of(clip: Input) -> Path:
    """Where the frames of one of several clips go: named like the clip, with its suffix."""
    return clip.name if clip.path is None else clip.name.with_name(clip.path.name)
