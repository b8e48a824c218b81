"""processor_config.json: how media become model inputs.

Every published Gemma 4 has the same values. They are read from the file; a file that lacks a
section (older conversions do) gets the published ones, and the caller is told. A value that the
processors do not implement is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..decoded import SAMPLE_RATE
from ..errors import CheckpointError, UnsupportedModelError

_FILE = "processor_config.json"
_BICUBIC = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionProcessorConfig:
    """``patch_size`` pixels a side, ``pooling`` patches a side of a soft token."""

    patch_size: int = 16
    pooling: int = 3
    image_budget: int = 280
    video_budget: int = 70
    video_frames: int = 32
    rescale_factor: float = 1 / 255


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
    """Raw frames of the 12B."""

    samples_per_token: int = 640


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorConfig:
    """``assumed`` names the sections for which the published values stand in."""

    vision: VisionProcessorConfig
    audio: MelConfig | RawAudioConfig
    assumed: tuple[str, ...]

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any] | None, *, unified: bool) -> ProcessorConfig:
        """``raw`` is the file's content, or None where the checkpoint has no such file."""
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
            audio = replace(audio, max_tokens=raw["audio_seq_length"])
        return cls(vision=vision, audio=audio, assumed=tuple(assumed))


def _get(section: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in section:
        raise CheckpointError(_FILE, f"{where} lacks {key!r}")
    return section[key]


def _refuse_unless(section: Mapping[str, Any], where: str, expected: Mapping[str, object]) -> None:
    for key, value in expected.items():
        if key in section and section[key] != value:
            raise UnsupportedModelError(
                f"a checkpoint whose {where} has {key} = {section[key]!r}",
                f"every published Gemma 4 has {value!r}",
            )


def _with_image(base: VisionProcessorConfig, section: Mapping[str, Any]) -> VisionProcessorConfig:
    where = "image_processor"
    _refuse_unless(section, where, {"resample": _BICUBIC, "do_normalize": False, "do_resize": True})
    return replace(
        base,
        patch_size=_get(section, "patch_size", where),
        pooling=_get(section, "pooling_kernel_size", where),
        image_budget=_get(section, "max_soft_tokens", where),
        rescale_factor=_get(section, "rescale_factor", where),
    )


def _with_video(base: VisionProcessorConfig, section: Mapping[str, Any]) -> VisionProcessorConfig:
    where = "video_processor"
    # Normalisation by mean 0 and deviation 1 is none.
    identity = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "resample": _BICUBIC}
    _refuse_unless(section, where, identity)
    return replace(
        base,
        video_budget=_get(section, "max_soft_tokens", where),
        video_frames=_get(section, "num_frames", where),
    )


def _mel(section: Mapping[str, Any]) -> MelConfig:
    where = "feature_extractor"
    plain: Mapping[str, object] = {
        "dither": 0.0,
        "preemphasis": 0.0,
        "input_scale_factor": 1.0,
        "fft_overdrive": False,
        "per_bin_mean": None,
        "per_bin_stddev": None,
        "sampling_rate": SAMPLE_RATE,
    }
    _refuse_unless(section, where, plain)
    return MelConfig(
        bins=_get(section, "feature_size", where),
        frame_length=_get(section, "frame_length", where),
        hop_length=_get(section, "hop_length", where),
        fft_length=_get(section, "fft_length", where),
        min_frequency=_get(section, "min_frequency", where),
        max_frequency=_get(section, "max_frequency", where),
        floor=_get(section, "mel_floor", where),
    )


def _raw_audio(section: Mapping[str, Any]) -> RawAudioConfig:
    where = "feature_extractor"
    _refuse_unless(section, where, {"sampling_rate": SAMPLE_RATE})
    return RawAudioConfig(samples_per_token=_get(section, "audio_samples_per_token", where))
