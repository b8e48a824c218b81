"""espeak-ng as a library: text to samples and to phonemes, in this process and without files.

The flutter of a voice goes on from one call to the next, so samples are a function of the calls
since the process began; phonemes are a function of the text.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import soxr

from gemma4cli.decoded import SAMPLE_RATE

from .voices import Voice

FloatArray = npt.NDArray[np.float32]

_LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS = 2
_UTF8 = 1
_CHARACTERS = 1
_IPA = 2
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_WITHOUT_ERROR = 0

_LIST_END, _WORD = 0, 1
_QUIETEST = 1e-3


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h; positions in the text count characters from 1."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """Mono 16 kHz ``samples`` ``[N]`` in -1..1, and where each word of the text begins in them."""

    samples: FloatArray
    words: tuple[int, ...]


class EspeakError(RuntimeError):
    """espeak-ng is missing or refused."""


class Espeak:
    """The library, opened once per process; see :func:`espeak`."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise EspeakError(
                f"{_LIBRARY} is not installed; on Debian: apt install libespeak-ng1"
            ) from error
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if self._rate <= 0:
            raise EspeakError("espeak-ng did not start; its voice data may be missing")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._samples = bytearray()
        self._events: list[tuple[int, int]] = []
        # The library keeps the pointer only, so this object keeps the function alive.
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def samples(self, text: str, voice: Voice) -> FloatArray:
        """Mono 16 kHz samples ``[N]`` in -1..1 of ``text``, without the silence around it."""
        return self.utterance(text, voice).samples

    def utterance(self, text: str, voice: Voice) -> Utterance:
        """``text``, words apart by single spaces, without the silence around it.

        A word that espeak-ng joins to the one before begins where that one does.
        """
        self._set_voice(voice)
        for parameter, value in (
            (_RATE, voice.words_per_minute),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
            (_WORD_GAP, voice.word_gap),
            (_VOLUME, voice.amplitude),
        ):
            self._check(self._library.espeak_SetParameter(parameter, value, 0))
        self._samples.clear()
        self._events.clear()
        encoded = text.encode()
        self._check(
            self._library.espeak_Synth(
                encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF8, None, None
            )
        )
        self._check(self._library.espeak_Synchronize())
        spoken = np.frombuffer(bytes(self._samples), np.int16).astype(np.float32) / 32768
        resampled = soxr.resample(spoken, self._rate, SAMPLE_RATE).astype(np.float32)
        loud = np.flatnonzero(np.abs(resampled) > _QUIETEST)
        if not len(loud):
            return Utterance(resampled[:0], tuple(0 for _ in text.split()))
        begin, end = int(loud[0]), int(loud[-1]) + 1
        starts = (at * SAMPLE_RATE // self._rate - begin for at in self._word_starts(text))
        return Utterance(resampled[begin:end], tuple(max(0, start) for start in starts))

    def _word_starts(self, text: str) -> list[int]:
        """The sample at which each word begins, at espeak-ng's own rate."""
        told = dict(self._events)
        starts: list[int] = []
        position = 1
        for word in text.split():
            starts.append(told.get(position, starts[-1] if starts else 0))
            position += len(word) + 1
        return starts

    def phonemes(self, text: str, voice: Voice) -> str:
        """The IPA letters of ``text`` in the accent of ``voice``, words apart by spaces."""
        self._set_voice(voice)
        rest = ctypes.c_char_p(text.encode())
        pointer = ctypes.pointer(rest)
        clauses: list[str] = []
        while rest.value is not None:
            clauses.append(self._library.espeak_TextToPhonemes(pointer, _UTF8, _IPA).decode())
        return " ".join(clauses)

    def _set_voice(self, voice: Voice) -> None:
        self._check(self._library.espeak_SetVoiceByName(voice.name.encode()), voice.name)

    def _check(self, status: int, what: str = "a call") -> None:
        if status != _WITHOUT_ERROR:
            raise EspeakError(f"espeak-ng refused {what} with status {status}")

    def _take(self, wave: object, count: int, events: ctypes.Array[_Event]) -> int:
        if wave and count > 0:
            self._samples += ctypes.string_at(wave, 2 * count)  # type: ignore[arg-type]
        number = 0
        while events[number].type != _LIST_END:
            if events[number].type == _WORD:
                self._events.append((events[number].text_position, events[number].sample))
            number += 1
        return 0


@cache
def espeak() -> Espeak:
    """The library of this process."""
    return Espeak()
