"""Videos of ``training.videos`` as MP4 files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from gemma4cli.decoded import SAMPLE_RATE

from .pictures.drawing import drawn
from .videos import Video


def write_video(
    path: Path,
    shown: Video,
    rng: np.random.Generator,
    sound: npt.NDArray[np.float32] | None = None,
) -> None:
    """An MP4 file, H.264 in yuv420p; ``sound`` is mono at 16 kHz and becomes an AAC track."""
    first = shown.scenes[0].picture
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=shown.rate)
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20"}
        track = None if sound is None else container.add_stream("aac", rate=SAMPLE_RATE)
        images = {id(scene): drawn(scene.picture, rng) for scene in shown.scenes}
        for number in range(round(shown.duration * shown.rate)):
            pixels = images[id(shown.shown_at(number / shown.rate))]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None and track is not None:
            samples = av.AudioFrame.from_ndarray(sound[None, :], format="fltp", layout="mono")
            samples.sample_rate = SAMPLE_RATE
            samples.time_base = Fraction(1, SAMPLE_RATE)
            samples.pts = 0
            container.mux(track.encode(samples))
            container.mux(track.encode())
