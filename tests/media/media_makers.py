"""Writes media files for tests."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 128, 64
BITS = 8


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """A frame that shows its number: one black or white column per bit."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, width // BITS)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(pixels: npt.NDArray[np.uint8]) -> int:
    """The number that ``numbered`` drew."""
    column = pixels.shape[1] // BITS
    means = [pixels[:, bit * column : (bit + 1) * column].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 127)


def write_video(
    path: Path,
    frames: Sequence[npt.NDArray[np.uint8]],
    *,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    rate: int = 10,
    options: dict[str, str] | None = None,
    sound: npt.NDArray[np.int16] | None = None,
    sound_rate: int = 16_000,
    rotation: int = 0,
    container_format: str | None = None,
) -> Path:
    """A clip of the frames, at ``rate`` or at ``times`` (seconds), with mono sound if given."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=container_format) as container:
        video = container.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height = width, height
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            video.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            audio = container.add_stream(
                "aac" if path.suffix == ".mp4" else "pcm_s16le", rate=sound_rate, layout="mono"
            )
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
            frame.pts = index if times is None else round(times[index] * 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            encode_sound(container, audio, sound[None, :], "s16", sound_rate)
    return path


def write_audio(
    path: Path,
    samples: npt.NDArray[np.generic],
    *,
    codec: str,
    sample_format: str,
    rate: int = 16_000,
    layout: str = "mono",
) -> Path:
    """An audio file of ``samples``, ``[channels, n]``, written by PyAV."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        encode_sound(container, stream, samples, sample_format, rate)
    return path


def encode_sound(
    container: av.container.OutputContainer,
    stream: av.audio.stream.AudioStream,
    samples: npt.NDArray[np.generic],
    sample_format: str,
    rate: int,
    first: int = 0,
) -> None:
    """Encode ``samples``, ``[channels, n]``, into the stream; packed formats are interleaved."""
    planar = sample_format.endswith("p")
    data = samples if planar else samples.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(data), format=sample_format, layout=stream.layout.name
    )
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    frame.pts = first
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_wav(path: Path, samples: npt.NDArray[np.int16], rate: int = 16_000) -> Path:
    """A 16-bit WAV of ``samples``, ``[n]`` or ``[n, channels]``."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return path


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> npt.NDArray[np.int16]:
    """A sine at half of full scale, ``[n]``."""
    at = np.arange(round(seconds * rate)) / rate
    return np.round(np.sin(2 * np.pi * hertz * at) * 16384).astype(np.int16)
