"""processor_config.json: the parameters by which media become model inputs.

Every published Gemma 4 checkpoint has the same values. They are read from the file; for a section
that is missing (in older conversions) the published values are used, and ``assumed`` names it.
Values that the processors do not implement are rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..checked_json import JsonError, number, shown, whole
from ..decoded import SAMPLE_RATE
from ..errors import CheckpointError, UnsupportedModelError
from ..options import SOFT_TOKEN_BUDGETS

_FILE = "processor_config.json"
_BICUBIC = 3
_LARGEST_BUDGET = 4096
"""Soft tokens of one picture."""
_MOST_PATCHES = 2**15
"""Of one picture; published are 10,080. Attention compares each with each."""
_MOST_PIXELS = 2**24
"""Of one picture as the tower takes it; published are 2.6 million."""
_MOST_SPECTRA = 2**23
"""Frames of the longest clip times the samples of a Fourier transform; published are 1.5 million.
"""
_MOST_FILTERS = 2**20
"""Bins times the samples of a Fourier transform; published are 65,536."""


FRAMES_PER_TOKEN = 4
"""The audio tower has two convolutions of stride 2 in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionProcessorConfig:
    """Patches measure ``patch_size`` pixels a side, soft tokens ``pooling`` patches a side.

    ``longest_side`` is the most soft tokens that the network has positions for on one side.
    """

    patch_size: int = 16
    pooling: int = 3
    image_budget: int = 280
    video_budget: int = 70
    video_frames: int = 32
    rescale_factor: float = 1 / 255
    longest_side: int = _LARGEST_BUDGET


@dataclass(frozen=True, kw_only=True, slots=True)
class MelConfig:
    """Log-mel features of the audio tower; lengths in samples, frequencies in Hz."""

    bins: int = 128
    frame_length: int = 320
    hop_length: int = 160
    fft_length: int = 512
    min_frequency: float = 0.0
    max_frequency: float = 8000.0
    floor: float = 1e-3
    max_tokens: int = 750


@dataclass(frozen=True, kw_only=True, slots=True)
class RawAudioConfig:
    """Raw audio frames, which the 12B takes instead of log-mel features."""

    samples_per_token: int = 640


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorConfig:
    """``assumed`` names the missing sections, for which the published values are used."""

    vision: VisionProcessorConfig
    audio: MelConfig | RawAudioConfig
    assumed: tuple[str, ...]

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any] | None, *, unified: bool) -> ProcessorConfig:
        """``raw`` is the file's content, or None if the checkpoint has no such file."""
        raw = raw or {}
        assumed = [
            name
            for name in ("image_processor", "video_processor", "feature_extractor")
            if not isinstance(raw.get(name), Mapping)
        ]
        vision = VisionProcessorConfig()
        if "image_processor" not in assumed:
            vision = _with_image(vision, raw["image_processor"])
        if "video_processor" not in assumed:
            vision = _with_video(vision, raw["video_processor"])
        audio: MelConfig | RawAudioConfig = RawAudioConfig() if unified else MelConfig()
        if "feature_extractor" not in assumed:
            section = raw["feature_extractor"]
            audio = _raw_audio(section) if unified else _mel(section)
        if isinstance(audio, MelConfig) and "audio_seq_length" in raw:
            audio = replace(audio, max_tokens=_size(raw, "audio_seq_length", "", 2**16))
        _check_together(vision, audio)
        return cls(vision=vision, audio=audio, assumed=tuple(assumed))


def _check_together(vision: VisionProcessorConfig, audio: MelConfig | RawAudioConfig) -> None:
    """Raise CheckpointError for sizes that are too large together."""
    most = max(vision.image_budget, vision.video_budget)
    largest = max(most, *SOFT_TOKEN_BUDGETS)
    sizes = [
        ("max_soft_tokens and pooling_kernel_size", most * vision.pooling**2, _MOST_PATCHES),
        (
            "patch_size and pooling_kernel_size",
            largest * (vision.patch_size * vision.pooling) ** 2,
            _MOST_PIXELS,
        ),
    ]
    if isinstance(audio, MelConfig):
        frames = audio.max_tokens * FRAMES_PER_TOKEN
        sizes += [
            ("audio_seq_length and fft_length", frames * audio.fft_length, _MOST_SPECTRA),
            ("feature_size and fft_length", audio.bins * audio.fft_length, _MOST_FILTERS),
        ]
    for names, product, most in sizes:
        if product > most:
            raise CheckpointError(_FILE, f"{names} are too large together")


_LARGEST_FRAME = 2**16
"""In samples: four seconds."""


def _get(section: Mapping[str, Any], key: str, section_name: str) -> Any:
    if key not in section:
        raise CheckpointError(_FILE, f"{section_name} has no {key!r}")
    return section[key]


def _size(section: Mapping[str, Any], key: str, section_name: str, most: int) -> int:
    """A whole number from 1 to ``most``."""
    path = f"{section_name}.{key}" if section_name else key
    try:
        return whole(_get(section, key, section_name), path, most=most)
    except JsonError as exc:
        raise CheckpointError(_FILE, str(exc)) from exc


def _number(section: Mapping[str, Any], key: str, section_name: str, most: float) -> float:
    """A number from 0 to ``most``."""
    try:
        return number(_get(section, key, section_name), f"{section_name}.{key}", most=most)
    except JsonError as exc:
        raise CheckpointError(_FILE, str(exc)) from exc


def _require_values(section: Mapping[str, Any], name: str, expected: Mapping[str, object]) -> None:
    for key, value in expected.items():
        if key in section and section[key] != value:
            raise UnsupportedModelError(
                f"a checkpoint whose {name} has {key} = {shown(section[key])}",
                f"every published Gemma 4 has {value!r}",
            )


def _with_image(base: VisionProcessorConfig, section: Mapping[str, Any]) -> VisionProcessorConfig:
    name = "image_processor"
    _require_values(section, name, {"resample": _BICUBIC, "do_normalize": False, "do_resize": True})
    return replace(
        base,
        patch_size=_size(section, "patch_size", name, 1024),
        pooling=_size(section, "pooling_kernel_size", name, 64),
        image_budget=_size(section, "max_soft_tokens", name, _LARGEST_BUDGET),
        rescale_factor=_number(section, "rescale_factor", name, 1),
    )


def _with_video(base: VisionProcessorConfig, section: Mapping[str, Any]) -> VisionProcessorConfig:
    name = "video_processor"
    # Normalizing with mean 0 and deviation 1 changes nothing.
    identity = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "resample": _BICUBIC}
    _require_values(section, name, identity)
    return replace(
        base,
        video_budget=_size(section, "max_soft_tokens", name, _LARGEST_BUDGET),
        video_frames=_size(section, "num_frames", name, 4096),
    )


def _mel(section: Mapping[str, Any]) -> MelConfig:
    name = "feature_extractor"
    plain: Mapping[str, object] = {
        "dither": 0.0,
        "preemphasis": 0.0,
        "input_scale_factor": 1.0,
        "fft_overdrive": False,
        "per_bin_mean": None,
        "per_bin_stddev": None,
        "sampling_rate": SAMPLE_RATE,
    }
    _require_values(section, name, plain)
    config = MelConfig(
        bins=_size(section, "feature_size", name, 2048),
        frame_length=_size(section, "frame_length", name, _LARGEST_FRAME),
        hop_length=_size(section, "hop_length", name, _LARGEST_FRAME),
        fft_length=_size(section, "fft_length", name, _LARGEST_FRAME),
        min_frequency=_number(section, "min_frequency", name, SAMPLE_RATE / 2),
        max_frequency=_number(section, "max_frequency", name, SAMPLE_RATE / 2),
        floor=_number(section, "mel_floor", name, 1),
    )
    if config.floor == 0 or config.min_frequency >= config.max_frequency:
        raise CheckpointError(
            _FILE, f"{name}: mel_floor must be above 0, and min_frequency below max_frequency"
        )
    if not config.hop_length <= config.frame_length <= config.fft_length:
        raise CheckpointError(
            _FILE, f"{name}: hop_length, frame_length and fft_length must not decrease"
        )
    return config


def _raw_audio(section: Mapping[str, Any]) -> RawAudioConfig:
    name = "feature_extractor"
    _require_values(section, name, {"sampling_rate": SAMPLE_RATE})
    return RawAudioConfig(
        samples_per_token=_size(section, "audio_samples_per_token", name, _LARGEST_FRAME)
    )
