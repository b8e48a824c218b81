"""The trained twin as a checkpoint folder, laid out as Gemma 4 12B is published.

python -m training.twin.export WORK FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4UnifiedConfig

from .. import checkpoint
from ..loop import trained
from .architecture import (
    GLOBAL_HEAD_DIM,
    GLOBAL_KEY_VALUE_HEADS,
    SAMPLES_PER_TOKEN,
    twin_config,
)
from .names import COMPUTED, published_name
from .train import FOLDER, MODEL

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def tensors(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under their published names."""
    return {
        published_name(name): value
        for name, value in weights.items()
        if not name.startswith(COMPUTED)
    }


def config_json(config: Gemma4UnifiedConfig) -> dict[str, Any]:
    """config.json with the head sizes of full layers where published checkpoints have them."""
    raw = config.to_dict()
    raw["architectures"] = ["Gemma4UnifiedForConditionalGeneration"]
    raw["dtype"] = "bfloat16"
    text = raw["text_config"]
    del text["per_layer_config"]
    text |= {
        "enable_moe_block": False,
        "global_head_dim": GLOBAL_HEAD_DIM,
        "hidden_size_per_layer_input": 0,
        "moe_intermediate_size": None,
        "num_experts": None,
        "num_global_key_value_heads": GLOBAL_KEY_VALUE_HEADS,
        "top_k_experts": None,
        "vocab_size_per_layer_input": text["vocab_size"],
    }
    vision = raw["vision_config"]
    vision |= {
        "model_patch_size": config.vision_config.model_patch_size,
        "num_soft_tokens": checkpoint.BUDGET,
    }
    audio = raw["audio_config"]
    audio |= {
        "audio_samples_per_token": SAMPLES_PER_TOKEN,
        "hidden_size": SAMPLES_PER_TOKEN,
        "output_proj_dims": SAMPLES_PER_TOKEN,
    }
    return raw


def processor_json() -> dict[str, Any]:
    return {
        "audio_ms_per_token": 40,
        "audio_seq_length": 750,
        "feature_extractor": {
            "audio_samples_per_token": SAMPLES_PER_TOKEN,
            "feature_extractor_type": "Gemma4UnifiedAudioFeatureExtractor",
            "feature_size": SAMPLES_PER_TOKEN,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": 16000,
        },
        "image_processor": checkpoint.picture_processor()
        | {"image_processor_type": "Gemma4UnifiedImageProcessor"},
        "image_seq_length": checkpoint.BUDGET,
        "processor_class": "Gemma4UnifiedProcessor",
        "video_processor": checkpoint.video_processor()
        | {"video_processor_type": "Gemma4UnifiedVideoProcessor"},
    }


def export(work: Path, folder: Path) -> None:
    """Write every file of the checkpoint into ``folder``."""
    weights = trained(work / FOLDER, MODEL)
    vocabulary = len(weights["language_model.embed_tokens.weight"])
    checkpoint.write(
        work,
        folder,
        weights=tensors(weights),
        config=config_json(twin_config(vocabulary)),
        processor=processor_json(),
        template=_TEMPLATE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    export(arguments.work, arguments.folder)


if __name__ == "__main__":
    main()
