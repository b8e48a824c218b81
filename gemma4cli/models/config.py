"""config.json as frozen dataclasses, parsed strictly.

Unknown keys are ignored; of the others, see ``config_values``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UnsupportedModelError
from .config_values import Json, count, need
from .text_config import TextConfig
from .tower_config import AudioConfig, UnifiedAudioConfig, UnifiedVisionConfig, VisionConfig

FAMILIES = {
    "gemma4": "gemma4",
    "gemma4_text": "gemma4",
    "gemma4_unified": "gemma4_unified",
    "gemma4_unified_text": "gemma4_unified",
}
"""Supported model types and the architecture of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceholderIds:
    """The ids of the placeholders that soft tokens replace."""

    image: int
    audio: int
    video: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemma4Config:
    """The config of one checkpoint. ``vision`` or ``audio`` is None if the model lacks it."""

    unified: bool
    text: TextConfig
    vision: VisionConfig | UnifiedVisionConfig | None
    audio: AudioConfig | UnifiedAudioConfig | None
    placeholders: PlaceholderIds | None

    @property
    def architecture(self) -> str:
        """The model type, and the number of experts if there are any."""
        kind = "gemma4_unified" if self.unified else "gemma4"
        moe = self.text.moe
        return kind if moe is None else f"{kind}, mixture of {moe.num_experts} experts"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The media that the model accepts."""
        seen = ("image", "video") if self.vision is not None else ()
        return ("text", *seen, *(("audio",) if self.audio is not None else ()))

    @classmethod
    def from_dict(cls, raw: Json) -> Gemma4Config:
        """Parse config.json.

        Raises UnsupportedModelError if the model is not a Gemma 4 or is quantized for another
        runtime, and CheckpointError for a missing or invalid value.
        """
        model_type = raw.get("model_type")
        if isinstance(model_type, str) and model_type.endswith("_assistant"):
            raise UnsupportedModelError(
                "a drafter, which only guesses tokens for its model",
                "name the model with -m, and this with --draft",
            )
        if not isinstance(model_type, str) or model_type not in FAMILIES:
            raise UnsupportedModelError(
                f"a checkpoint of type {model_type!r}", "g4 runs Gemma 4 only"
            )
        _refuse_foreign_quantization(raw)
        unified = FAMILIES[model_type] == "gemma4_unified"
        if model_type.endswith("_text"):
            return cls(
                unified=unified,
                text=TextConfig.from_dict(raw),
                vision=None,
                audio=None,
                placeholders=None,
            )
        vision, audio = (_medium(raw, key) for key in ("vision_config", "audio_config"))
        vision_class = UnifiedVisionConfig if unified else VisionConfig
        audio_class = UnifiedAudioConfig if unified else AudioConfig
        return cls(
            unified=unified,
            text=TextConfig.from_dict(need(raw, "text_config", Mapping, ""), tied=_tied(raw)),
            vision=vision_class.from_dict(vision) if vision else None,
            audio=audio_class.from_dict(audio) if audio else None,
            placeholders=PlaceholderIds(
                image=count(raw, "image_token_id", ""),
                audio=count(raw, "audio_token_id", ""),
                video=count(raw, "video_token_id", ""),
            ),
        )


def _tied(raw: Json) -> bool | None:
    """The outer ``tie_word_embeddings``; None if it is missing or null."""
    key = "tie_word_embeddings"
    return need(raw, key, (bool, type(None)), "") if key in raw else None


def _medium(raw: Json, key: str) -> Json | None:
    """The section of a medium; None if the model lacks it."""
    return need(raw, key, Mapping, "") if raw.get(key) else None


def _refuse_foreign_quantization(raw: Json) -> None:
    section = raw.get("quantization_config")
    if "quantization" in raw or not section:
        return
    method = section.get("quant_method") if isinstance(section, Mapping) else None
    if method is not None:
        raise UnsupportedModelError(
            f"weights quantized with {method}",
            "MLX has no kernels for them; use an MLX conversion such as those of mlx-community",
        )
