"""Held-out clips of scenes, silent ones and ones in which somebody speaks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from gemma4cli import prompts
from gemma4cli.decoded import SAMPLE_RATE

from .. import videos
from ..seeds import generator
from ..speech.clips import clip
from ..video_files import write_video
from .cases import Case


def cases(count: int) -> Iterator[Case]:
    """``count`` silent clips and half as many with speech, as MP4 files."""
    for index in range(count):
        rng = generator("evaluation", "video", index)
        shown = videos.video(rng)
        said = clip("unseen", 1000 + index) if index % 3 == 2 else None
        while said is not None and len(said.samples) > shown.duration * SAMPLE_RATE:
            shown = videos.video(rng)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_video(path, shown, rng, None if said is None else said.samples)
            file = path.read_bytes()
        seen = videos.video_caption(shown)
        if said is None:
            yield Case(
                row="video: events with their times",
                prompt=prompts.DESCRIBE_VIDEO,
                answer=seen,
                score="sentences",
                videos=(file,),
            )
            for question, answer in videos.video_questions(shown, rng):
                yield Case(row="video: questions", prompt=question, answer=answer, videos=(file,))
        else:
            yield Case(
                row="video with speech: events and what is said",
                prompt=prompts.DESCRIBE_VIDEO,
                answer=f"{seen} A voice says: {said.sentences[0].written}.",
                score="sentences",
                videos=(file,),
            )
