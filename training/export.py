"""The trained model as a checkpoint folder, laid out as Gemma 4 E2B is published.

python -m training.export WORK FOLDER
python -m training.export WORK FOLDER --earlier gemma4cli/builtin/tiny
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4Config, Gemma4ForConditionalGeneration

from . import checkpoint
from . import tokenizer as tokenizers
from .architecture import GLOBAL_HEAD_DIM, tiny_config
from .language import stage as language
from .loop import trained
from .pictures import features as picture_features
from .speech import audio_features
from .speech.clips import MOST_TOKENS

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_EARLIER_SHARE = 0.25
Weights = dict[str, torch.Tensor]


def averaged(weights: Weights, earlier: Weights) -> Weights:
    """Weights a quarter of the way back to those of an earlier model, of the same names.

    A model that has learnt on from that one keeps what it gained, and loses less of what it knew.
    """
    return {name: value.lerp(earlier[name], _EARLIER_SHARE) for name, value in weights.items()}


def whole_model(work: Path, earlier: Path | None = None) -> Gemma4ForConditionalGeneration:
    """The stages' weights in the reference's model, averaged with the checkpoint ``earlier``."""
    weights = trained(work / language.FOLDER, "model")
    if earlier is not None:
        before = language.model_of(earlier, tokenizers.load(work, earlier))
        weights = averaged(weights, before.state_dict())
    config = tiny_config(len(weights["text.embed_tokens.weight"]))
    whole = Gemma4ForConditionalGeneration(config)
    parts = whole.model
    for name, module in (
        ("text", parts.language_model),
        ("pictures", parts.embed_vision),
        ("sounds", parts.embed_audio),
    ):
        prefix = f"{name}."
        module.load_state_dict(
            {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
        )
    parts.vision_tower.load_state_dict(picture_features.finished_tower(work).state_dict())
    parts.audio_tower.load_state_dict(audio_features.finished_tower(work).state_dict())
    return whole


def tensors(whole: Gemma4ForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Every weight under its published name; the output layer is tied and not stored."""
    return {name: value for name, value in whole.state_dict().items() if name != "lm_head.weight"}


def config_json(config: Gemma4Config) -> dict[str, Any]:
    """config.json with the head size of full layers where published checkpoints have it."""
    raw: dict[str, Any] = config.to_dict()
    raw["architectures"] = ["Gemma4ForConditionalGeneration"]
    raw["dtype"] = "bfloat16"
    text = raw["text_config"]
    del text["per_layer_config"]
    text |= {"global_head_dim": GLOBAL_HEAD_DIM, "num_global_key_value_heads": None}
    return raw


def processor_json() -> dict[str, Any]:
    return {
        "audio_ms_per_token": 40,
        "audio_seq_length": MOST_TOKENS,
        "feature_extractor": {
            "dither": 0.0,
            "feature_extractor_type": "Gemma4AudioFeatureExtractor",
            "feature_size": 128,
            "fft_length": 512,
            "fft_overdrive": False,
            "frame_length": 320,
            "hop_length": 160,
            "input_scale_factor": 1.0,
            "max_frequency": 8000.0,
            "mel_floor": 0.001,
            "min_frequency": 0.0,
            "padding_side": "right",
            "padding_value": 0.0,
            "per_bin_mean": None,
            "per_bin_stddev": None,
            "preemphasis": 0.0,
            "preemphasis_htk_flavor": True,
            "return_attention_mask": True,
            "sampling_rate": 16000,
        },
        "image_processor": checkpoint.picture_processor()
        | {"image_processor_type": "Gemma4ImageProcessor"},
        "image_seq_length": checkpoint.BUDGET,
        "processor_class": "Gemma4Processor",
        "video_processor": checkpoint.video_processor()
        | {"video_processor_type": "Gemma4VideoProcessor"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--earlier", type=Path, help="the checkpoint that the language model learnt on from"
    )
    arguments = parser.parse_args()
    whole = whole_model(arguments.work, arguments.earlier)
    checkpoint.write(
        arguments.work,
        arguments.folder,
        weights=tensors(whole),
        config=config_json(whole.config),
        processor=processor_json(),
        template=_TEMPLATE,
    )


if __name__ == "__main__":
    main()
