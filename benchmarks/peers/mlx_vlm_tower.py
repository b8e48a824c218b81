"""How long mlx-vlm's tower takes, in its own environment; run by the comparison.

    python mlx_vlm_tower.py CHECKPOINT picture|clip FILE QUESTION

Prepares a prompt as mlx-vlm's ``generate`` does, and stops when the soft tokens are in place. One
line of JSON: the seconds of that, the tokens of the prompt, and the soft tokens among them.
"""

from __future__ import annotations

import json
import sys
import time

import mlx.core as mx
from mlx_vlm import apply_chat_template, load
from mlx_vlm.utils import prepare_inputs, should_add_special_tokens


def main() -> None:
    checkpoint, kind, file, question = sys.argv[1:]
    model, processor = load(checkpoint)
    images, sounds = ([file], []) if kind == "picture" else ([], [file])
    prompt = apply_chat_template(
        processor, model.config, question, num_images=len(images), num_audios=len(sounds)
    )
    inputs = prepare_inputs(
        processor,
        images=images or None,
        audio=sounds or None,
        prompts=prompt,
        image_token_index=getattr(model.config, "image_token_index", None),
        add_special_tokens=should_add_special_tokens(model.config.model_type, processor),
    )
    ids = inputs.pop("input_ids")
    soft = model.config.image_token_id if images else model.config.audio_token_id
    started = time.perf_counter()
    mx.eval(model.get_input_embeddings(ids, **inputs).inputs_embeds)
    took = time.perf_counter() - started
    count = int((ids == soft).sum())
    print(json.dumps({"seconds": took, "tokens": ids.size, "soft": count}))


if __name__ == "__main__":
    main()
