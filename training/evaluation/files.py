"""Media as the files that a user would give."""

from __future__ import annotations

import io
import wave

import numpy as np
import numpy.typing as npt
from PIL import Image

from gemma4cli.decoded import SAMPLE_RATE


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """RGB uint8 ``[H, W, 3]`` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def wav(samples: npt.NDArray[np.float32]) -> bytes:
    """Mono float32 ``[N]`` in [-1, 1] at 16 kHz as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()
