"""Write a random checkpoint in MLX's 4-bit layout as GGUF files: text, and both towers.

    python benchmarks/peers/gguf_file.py /tmp/e2b-random /tmp/e2b-gguf

The weights are the same ones. Names and metadata follow llama.cpp's converter. Needs numpy and the
``gguf`` package that belongs to the llama.cpp that will read the files.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf_weights import BLOCK, F16, F32, Q4, Array, Checkpoint, Tensor, payload

SHOWN = {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>"}
SHOWN |= {"<tool_response|>", '<|"|>'}
"""Control tokens that llama.cpp shows, so that its chat parser can read them."""


def hub_name(name: str) -> str:
    """What the converter calls a tensor before it looks the name up."""
    name = name.replace("audio_tower.", "conformer.").replace(".linear.", ".")
    name = name.replace("vision_tower.encoder.", "vision_model.model.")
    name = re.sub(r"^(vision_tower|embed_vision|embed_audio)\.", r"model.\1.", name)
    name = name.removeprefix("language_model.")
    bare = ("per_dim_scale", "layer_scalar", "position_embedding_table")
    return f"{name}.weight" if name.endswith(bare) else name


ENDINGS = (".weight", ".bias", ".input_max", ".input_min", ".output_max", ".output_min")


def tensors(
    checkpoint: Checkpoint, arch: gguf.MODEL_ARCH, layers: int, *, text: bool
) -> Iterator[Tensor]:
    """What a file holds: of the language model, or of the towers."""
    names = gguf.get_tensor_name_map(arch, layers)
    for source, entry in checkpoint.header.items():
        helper = source.endswith((".scales", ".biases")) or source == "__metadata__"
        if helper or source.startswith("language_model.") != text:
            continue
        name = names.get_name(hub_name(source), try_suffixes=ENDINGS)
        if name is None:
            raise SystemExit(f"llama.cpp has no name for {source}")
        if text:
            kind = Q4 if checkpoint.is_packed(source) else F32
        else:
            exact = "conv" in source or "position_embedding_table" in source
            kind = F32 if exact or len(entry["shape"]) < 2 else F16
        yield Tensor(name, kind, source)


def write(
    writer: gguf.GGUFWriter, checkpoint: Checkpoint, contents: list[Tensor], extra: dict[str, Any]
) -> None:
    """Write header, metadata, and one tensor after the other."""
    for name, values in extra.items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    for tensor in contents:
        # Shapes are known only after rearranging, and cheap for all but the packed ones.
        if tensor.kind == Q4:
            rows, packed = checkpoint.header[tensor.source]["shape"]
            shape, size = (rows, packed * 8 // BLOCK * 18), rows * packed * 8 // BLOCK * 18
            writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), size, raw_dtype=Q4)
        else:
            values = payload(checkpoint, tensor)
            writer.add_tensor_info(tensor.name, values.shape, values.dtype, values.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in extra.values():
        writer.write_tensor_data(values)
    for tensor in contents:
        writer.write_tensor_data(payload(checkpoint, tensor))
    writer.close()


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = dict(tokenizer["model"]["vocab"])
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[word] for word in words] != list(range(len(words))):
        raise SystemExit("the vocabulary has gaps")

    def kind(word: str) -> gguf.TokenType:
        if word in SHOWN:
            return gguf.TokenType.USER_DEFINED
        if re.fullmatch(r"<0x[0-9A-F]{2}>", word):
            return gguf.TokenType.BYTE
        return gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL

    writer.add_tokenizer_model("gemma4")
    writer.add_token_list(words)
    writer.add_token_scores([-1000.0] * len(words))
    writer.add_token_types([kind(word) for word in words])
    pairs = tokenizer["model"]["merges"]
    writer.add_token_merges([p if isinstance(p, str) else " ".join(p) for p in pairs])
    writer.add_bos_token_id(vocabulary["<bos>"])
    writer.add_eos_token_id(vocabulary["<eos>"])
    writer.add_pad_token_id(vocabulary["<pad>"])
    writer.add_unk_token_id(vocabulary["<unk>"])
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(True)
    template = folder / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text(encoding="utf-8"))


def add_text_parameters(writer: gguf.GGUFWriter, text: dict[str, Any]) -> None:
    layers, shared = text["num_hidden_layers"], text["num_kv_shared_layers"]
    sliding = [kind == "sliding_attention" for kind in text["layer_types"]]
    wide = 2 if text["use_double_wide_mlp"] else 1
    heads = text["num_key_value_heads"]
    full_heads = text["num_global_key_value_heads"] or heads
    ropes = text["rope_parameters"]
    writer.add_block_count(layers)
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_feed_forward_length(
        [text["intermediate_size"] * (wide if i >= layers - shared else 1) for i in range(layers)]
    )
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv([heads if slides else full_heads for slides in sliding])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_key_length(text["global_head_dim"])
    writer.add_value_length(text["global_head_dim"])
    writer.add_key_length_swa(text["head_dim"])
    writer.add_value_length_swa(text["head_dim"])
    writer.add_rope_freq_base(ropes["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(ropes["sliding_attention"]["rope_theta"])
    writer.add_rope_dimension_count(text["global_head_dim"])
    writer.add_rope_dimension_count_swa(text["head_dim"])
    writer.add_final_logit_softcapping(text["final_logit_softcapping"])
    writer.add_sliding_window(text["sliding_window"])
    writer.add_sliding_window_pattern(sliding)
    writer.add_shared_kv_layers(shared)
    writer.add_embedding_length_per_layer_input(text["hidden_size_per_layer_input"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)


def rope_factors(text: dict[str, Any]) -> Array:
    """Full layers turn a part of each head: the other frequencies are divided by 1e30."""
    half = text["global_head_dim"] // 2
    turned = int(half * text["rope_parameters"]["full_attention"]["partial_rotary_factor"])
    return np.array([1.0] * turned + [1e30] * (half - turned), np.float32)


def write_text(checkpoint: Checkpoint, path: Path) -> None:
    text = checkpoint.config["text_config"]
    writer = gguf.GGUFWriter(path, "gemma4")
    add_text_parameters(writer, text)
    add_tokenizer(writer, checkpoint.folder)
    layers = text["num_hidden_layers"]
    contents = list(tensors(checkpoint, gguf.MODEL_ARCH.GEMMA4, layers, text=True))
    write(writer, checkpoint, contents, {"rope_freqs.weight": rope_factors(text)})


def write_towers(checkpoint: Checkpoint, path: Path) -> None:
    """The multimodal projector, as llama.cpp calls the file with both towers."""
    vision, audio = checkpoint.config["vision_config"], checkpoint.config["audio_config"]
    width = checkpoint.config["text_config"]["hidden_size"]
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_vision_projector_type(gguf.VisionProjectorType.GEMMA4V)
    writer.add_vision_projection_dim(width)
    writer.add_vision_image_size(224)  # read, but not used
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["num_hidden_layers"])
    writer.add_vision_head_count(vision["num_attention_heads"])
    writer.add_vision_attention_layernorm_eps(vision["rms_norm_eps"])
    writer.add_vision_image_mean([0.0, 0.0, 0.0])
    writer.add_vision_image_std([1.0, 1.0, 1.0])
    writer.add_clip_has_audio_encoder(True)
    writer.add_clip_audio_projector_type(gguf.VisionProjectorType.GEMMA4A)
    writer.add_audio_projection_dim(width)
    writer.add_audio_num_mel_bins(128)
    writer.add_audio_embedding_length(audio["hidden_size"])
    writer.add_audio_feed_forward_length(4 * audio["hidden_size"])
    writer.add_audio_block_count(audio["num_hidden_layers"])
    writer.add_audio_head_count(audio["num_attention_heads"])
    writer.add_audio_attention_layernorm_eps(audio["rms_norm_eps"])
    contents = list(tensors(checkpoint, gguf.MODEL_ARCH.MMPROJ, 128, text=False))
    write(writer, checkpoint, contents, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(arguments.checkpoint)
    write_text(checkpoint, arguments.folder / "text.gguf")
    if any(name.startswith("vision_tower.encoder.") for name in checkpoint.header):
        write_towers(checkpoint, arguments.folder / "towers.gguf")


if __name__ == "__main__":
    main()
