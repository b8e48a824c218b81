"""The files of a checkpoint folder that both models share, laid out as published ones are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from .special_tokens import ID_OF
from .tokenizer import CHECKPOINT_FILE
from .tokenizer import FILE as TOKENIZER

BUDGET = 70
"""Soft tokens of a picture, and of a frame of a video."""
VIDEO_FRAMES = 6


def write(
    work: Path,
    folder: Path,
    *,
    weights: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    processor: Mapping[str, Any],
    template: Path,
) -> None:
    """Write every file of a checkpoint; ``weights`` are stored in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.to(torch.bfloat16).contiguous() for name, value in weights.items()}
    # Not save_file: what that writes can be read by nobody else.
    (folder / "model.safetensors").write_bytes(save(half, metadata={"format": "pt"}))
    for name, content in (
        ("config.json", config),
        ("processor_config.json", processor),
        ("generation_config.json", generation_config()),
        ("tokenizer_config.json", tokenizer_config(processor["processor_class"])),
    ):
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / name).write_text(text + "\n")
    shutil.copyfile(work / TOKENIZER, folder / CHECKPOINT_FILE)
    shutil.copyfile(template, folder / "chat_template.jinja")


def picture_processor() -> dict[str, Any]:
    """What image and video processors have in common."""
    return {
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


def video_processor() -> dict[str, Any]:
    return picture_processor() | {
        "do_normalize": True,
        "do_sample_frames": True,
        "num_frames": VIDEO_FRAMES,
        "return_metadata": False,
    }


def generation_config() -> dict[str, Any]:
    return {
        "bos_token_id": ID_OF["<bos>"],
        "do_sample": False,
        "eos_token_id": [ID_OF["<eos>"], ID_OF["<turn|>"], ID_OF["<|tool_response>"]],
        "pad_token_id": ID_OF["<pad>"],
    }


def tokenizer_config(processor_class: str) -> dict[str, Any]:
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
        "processor_class": processor_class,
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
    }
