"""What the files of an adapter are called."""

from __future__ import annotations

CONFIG = "adapter_config.json"
PEFT_WEIGHTS, MLX_WEIGHTS = WEIGHTS = ("adapter_model.safetensors", "adapters.safetensors")
