"""A step of tuning in torch and PEFT, for ``tuning_speed.py --torch``; runs in their environment.

    ENVIRONMENT/bin/python benchmarks/tuning_torch.py FOLDER examples.json --dtype float32

``examples.json`` has the rows of ids and where the learned ones begin. The loss is the cross
entropy of those, from logits of their positions alone; the additions, the optimizer and the bound
of the gradients are those of ``g4 tune``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path
from time import monotonic, process_time

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "parity"))

from tolerance import tolerate_missing_operators

tolerate_missing_operators()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForImageTextToText  # noqa: E402

TARGETS = r".*language_model\.layers\.[0-9]+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("examples", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--recompute", action="store_true")
    print(json.dumps(measured(parser.parse_args())))


def measured(given: argparse.Namespace) -> dict[str, object]:
    examples = json.loads(given.examples.read_text())
    rows, start = examples["ids"], examples["start"]
    whole = AutoModelForImageTextToText.from_pretrained(
        given.folder, dtype=getattr(torch, given.dtype)
    )
    del whole.model.vision_tower, whole.model.audio_tower
    config = LoraConfig(r=given.rank, lora_alpha=2 * given.rank, target_modules=TARGETS)
    model = get_peft_model(whole, config)
    model.train()
    if given.recompute:
        whole.enable_input_require_grads()
        whole.gradient_checkpointing_enable({"use_reentrant": False})
    learned = [each for each in model.parameters() if each.requires_grad]
    adam = torch.optim.AdamW(learned, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01)
    ids = torch.tensor(rows)
    seconds, processor, losses = [], [], []
    for _ in range(given.steps):
        started, used = monotonic(), process_time()
        found = model(
            input_ids=ids,
            mm_token_type_ids=torch.zeros_like(ids),
            use_cache=False,
            logits_to_keep=slice(start - 1, ids.shape[1] - 1),
        )
        logits = found.logits.float().flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, ids[:, start:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        adam.step()
        adam.zero_grad()
        seconds.append(round(monotonic() - started, 2))
        processor.append(round(process_time() - used, 2))
        losses.append(round(loss.item(), 5))
        del found, logits, loss
    return {
        "dtype": given.dtype,
        "seconds": seconds,
        "processor_seconds": processor,
        "losses": losses,
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


if __name__ == "__main__":
    main()
