"""processor_config.json: the parameters by which media become model inputs.

Every published Gemma 4 checkpoint has the same values. They are read from the file; for a section
that is missing (in older conversions) the published values are used, and ``assumed`` names it.
Values that the processors do not implement are rejected.
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
    """Patches measure ``patch_size`` pixels a side, soft tokens ``pooling`` patches a side."""

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
            audio = replace(audio, max_tokens=raw["audio_seq_length"])
        return cls(vision=vision, audio=audio, assumed=tuple(assumed))


def _get(section: Mapping[str, Any], key: str, section_name: str) -> Any:
    if key not in section:
        raise CheckpointError(_FILE, f"{section_name} has no {key!r}")
    return section[key]


def _require_values(section: Mapping[str, Any], name: str, expected: Mapping[str, object]) -> None:
    for key, value in expected.items():
        if key in section and section[key] != value:
            raise UnsupportedModelError(
                f"a checkpoint whose {name} has {key} = {section[key]!r}",
                f"every published Gemma 4 has {value!r}",
            )


def _with_image(base: VisionProcessorConfig, section: Mapping[str, Any]) -> VisionProcessorConfig:
    name = "image_processor"
    _require_values(section, name, {"resample": _BICUBIC, "do_normalize": False, "do_resize": True})
    return replace(
        base,
        patch_size=_get(section, "patch_size", name),
        pooling=_get(section, "pooling_kernel_size", name),
        image_budget=_get(section, "max_soft_tokens", name),
        rescale_factor=_get(section, "rescale_factor", name),
    )


def _with_video(base: VisionProcessorConfig, section: Mapping[str, Any]) -> VisionProcessorConfig:
    name = "video_processor"
    # Normalizing with mean 0 and deviation 1 changes nothing.
    identity = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "resample": _BICUBIC}
    _require_values(section, name, identity)
    return replace(
        base,
        video_budget=_get(section, "max_soft_tokens", name),
        video_frames=_get(section, "num_frames", name),
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
    return MelConfig(
        bins=_get(section, "feature_size", name),
        frame_length=_get(section, "frame_length", name),
        hop_length=_get(section, "hop_length", name),
        fft_length=_get(section, "fft_length", name),
        min_frequency=_get(section, "min_frequency", name),
        max_frequency=_get(section, "max_frequency", name),
        floor=_get(section, "mel_floor", name),
    )


def _raw_audio(section: Mapping[str, Any]) -> RawAudioConfig:
    name = "feature_extractor"
    _require_values(section, name, {"sampling_rate": SAMPLE_RATE})
    return RawAudioConfig(samples_per_token=_get(section, "audio_samples_per_token", name))
