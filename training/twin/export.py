"""The trained twin as a checkpoint folder, laid out as Gemma 4 12B is published.

python -m training.twin.export WORK FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Gemma4UnifiedConfig

from ..loop import trained
from ..special_tokens import ID_OF
from ..tokenizer import FILE as TOKENIZER
from .architecture import (
    BUDGET,
    GLOBAL_HEAD_DIM,
    GLOBAL_KEY_VALUE_HEADS,
    SAMPLES_PER_TOKEN,
    twin_config,
)
from .train import FOLDER, MODEL

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_VIDEO_FRAMES = 6
_NAMES = {
    "embed_vision.patch_": "vision_embedder.patch_",
    "embed_vision.pos_": "vision_embedder.pos_",
    "embed_vision.multimodal_embedder.": "embed_vision.",
}
"""Where the reference's modules go by another name than the published tensors."""


def published_name(name: str) -> str:
    """A tensor's name in the published checkpoints, from its name in Gemma4UnifiedModel."""
    for ours, theirs in _NAMES.items():
        if name.startswith(ours):
            return f"model.{theirs}{name.removeprefix(ours)}"
    return f"model.{name}"


def tensors(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in bfloat16 under their published names."""
    return {
        published_name(name): value.to(torch.bfloat16).contiguous()
        for name, value in weights.items()
        if not name.startswith("language_model.rotary_emb.")
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
        "num_soft_tokens": BUDGET,
    }
    audio = raw["audio_config"]
    audio |= {
        "audio_samples_per_token": SAMPLES_PER_TOKEN,
        "hidden_size": SAMPLES_PER_TOKEN,
        "output_proj_dims": SAMPLES_PER_TOKEN,
    }
    return raw


def processor_json() -> dict[str, Any]:
    pictures: dict[str, Any] = {
        "do_convert_rgb": True,
        "do_normalize": False,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "max_soft_tokens": BUDGET,
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
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
        "image_processor": {
            **pictures,
            "image_processor_type": "Gemma4UnifiedImageProcessor",
        },
        "image_seq_length": BUDGET,
        "processor_class": "Gemma4UnifiedProcessor",
        "video_processor": {
            **pictures,
            "do_normalize": True,
            "do_sample_frames": True,
            "num_frames": _VIDEO_FRAMES,
            "return_metadata": False,
            "video_processor_type": "Gemma4UnifiedVideoProcessor",
        },
    }


def generation_json() -> dict[str, Any]:
    return {
        "bos_token_id": ID_OF["<bos>"],
        "do_sample": False,
        "eos_token_id": [ID_OF["<eos>"], ID_OF["<turn|>"], ID_OF["<|tool_response>"]],
        "pad_token_id": ID_OF["<pad>"],
    }


def tokenizer_config_json() -> dict[str, Any]:
    own = {
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "boi_token": "<|image>",
        "eoa_token": "<audio|>",
        "eoi_token": "<image|>",
        "eot_token": "<turn|>",
        "image_token": "<|image|>",
        "sot_token": "<|turn>",
    }
    return {
        **own,
        "backend": "tokenizers",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "extra_special_tokens": ["<|video|>"],
        "mask_token": "<mask>",
        "model_specific_special_tokens": own,
        "pad_token": "<pad>",
        "processor_class": "Gemma4UnifiedProcessor",
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
    }


def export(work: Path, folder: Path) -> None:
    """Write every file of the checkpoint into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = trained(work / FOLDER, MODEL)
    vocabulary = len(weights["language_model.embed_tokens.weight"])
    save_file(tensors(weights), folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in (
        ("config.json", config_json(twin_config(vocabulary))),
        ("processor_config.json", processor_json()),
        ("generation_config.json", generation_json()),
        ("tokenizer_config.json", tokenizer_config_json()),
    ):
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / name).write_text(text + "\n")
    shutil.copyfile(work / TOKENIZER, folder / "tokenizer.json")
    shutil.copyfile(_TEMPLATE, folder / "chat_template.jinja")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    export(arguments.work, arguments.folder)


if __name__ == "__main__":
    main()
