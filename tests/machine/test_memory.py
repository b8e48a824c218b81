"""Memory estimates, against the sizes of published files and against measured peaks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.published import config_of, tensor_lists

from gemma4cli.api import load
from gemma4cli.engine.loaded_weights import numerics_of, weights_in_memory
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import Prefill
from gemma4cli.hub.safetensors_headers import TensorHeader, read_headers, weights_of
from gemma4cli.machine.memory import (
    KEPT_CHECKPOINTS,
    KEPT_SOFT_TOKENS,
    Backend,
    Kept,
    Numerics,
    Weights,
    Work,
    audio_size,
    cache_size,
    footprint,
    kept_size,
    part_of,
    prefill_size,
    vision_size,
)
from gemma4cli.models.block_sizes import MOST_SCORES
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.tower_config import VisionConfig

CPU = Numerics(item=4, backend="CPU")
GPU = Numerics(item=2, backend="Metal")
CARD = Numerics(item=2, backend="CUDA")
NO_WEIGHTS = Weights(text=0, vision=0, audio=0)


@cache
def published(size: str) -> Gemma4Config:
    return Gemma4Config.from_dict(config_of(f"google__gemma-4-{size}-it"))


def headers_of(name: str) -> dict[str, TensorHeader]:
    return {
        tensor: TensorHeader(dtype=dtype, shape=tuple(shape))
        for tensor, (dtype, shape) in tensor_lists()[name].items()
    }


# The cache


def test_the_cache_of_each_published_model_has_its_known_size() -> None:
    """In bfloat16: bytes per token in the full layers, and of all windows once they are full."""
    known = {
        "E2B": (6_144, 6_291_456),
        "E4B": (16_384, 20_971_520),
        "12B": (16_384, 335_544_320),
        "26B-A4B": (20_480, 209_715_200),
        "31B": (81_920, 838_860_800),
    }
    caches = {size: cache_size(published(size).text, 32_768, item=2) for size in known}
    assert {s: (c.full / 32_768, c.sliding) for s, c in caches.items()} == known


def test_sliding_layers_cache_at_most_the_window() -> None:
    text = published("E2B").text
    sizes = [cache_size(text, tokens, item=2).sliding for tokens in (256, 512, 1024, 100_000)]
    assert sizes[0] < sizes[1] == sizes[2] == sizes[3]


def test_sliding_layers_also_hold_the_chunk_during_prefill() -> None:
    text = published("E2B").text
    decoding = cache_size(text, 4096, item=2).sliding
    assert cache_size(text, 4096, item=2, step=512).sliding == 2 * decoding


# Weights


def test_weights_are_as_large_as_the_published_files_without_their_headers() -> None:
    files = {
        "E2B.mlx-community-4bit": 3_550_670_554,
        "E2B.google-hf-bf16": 10_246_621_918,
        "E4B.mlx-community-4bit": 5_146_800_534,
        "12B.mlx-community-4bit": 6_741_039_511,
        "26B-A4B.mlx-community-4bit": 15_341_205_776,
        "31B.mlx-community-4bit": 18_412_016_676,
    }
    shares = {
        name: weights_of(headers_of(name), None, mapped=False).total / files[name] for name in files
    }
    assert {name: share for name, share in shares.items() if not 0.999 < share < 1} == {}


def test_on_a_cpu_floats_of_a_quantized_model_count_as_float32_and_packed_weights_as_stored() -> (
    None
):
    """The sizes that were measured after loading."""
    assert weights_of(headers_of("E2B.mlx-community-4bit"), 4, mapped=False) == Weights(
        text=2_893_821_068, vision=670_197_504, audio=1_220_774_912
    )


@pytest.mark.usefixtures("without_native")
def test_weights_by_file_headers_equal_those_in_memory() -> None:
    tiny = load("tiny")
    size = numerics_of(tiny).item
    headers = read_headers(tiny.folder)
    assert weights_of(headers, size, mapped=False) == weights_in_memory(tiny)


def test_the_native_part_widens_next_to_nothing_of_the_weights(tiny: LoadedModel) -> None:
    """Norms, positions and convolutions become float32; the matrices stay as they are stored."""
    if not numerics_of(tiny).native:
        pytest.skip("the native part is not in use")
    stored = weights_of(read_headers(tiny.folder), None, mapped=True)
    assert stored.total < weights_in_memory(tiny).total < 1.05 * stored.total


def test_towers_that_a_run_does_not_use_take_no_memory() -> None:
    config, weights = published("E2B"), Weights(text=100, vision=10, audio=1)
    towers = [
        footprint(config, weights, CPU, work).towers
        for work in (
            Work(tokens=9),
            Work(tokens=9, images=(70,)),
            Work(tokens=900, images=(70,), clip_tokens=750),
        )
    ]
    assert towers == [0, 10, 11]


# Activations

MEASURED = [
    ("E2B", Work(tokens=64), 239e6),
    ("E2B", Work(tokens=256), 252e6),
    ("E2B", Work(tokens=63, images=(63,)), 84e6),
    ("E2B", Work(tokens=130, images=(130,)), 177e6),
    ("E2B", Work(tokens=125, clip_tokens=125), 66e6),
    ("E2B", Work(tokens=750, clip_tokens=750), 408e6),
    ("tiny", Work(tokens=1100), 15.7e6),
    ("tiny", Work(tokens=2100), 24.7e6),
    ("tiny", Work(tokens=4100), 44.0e6),
    ("tiny", Work(tokens=266, images=(266,)), 94.5e6),
    ("tiny", Work(tokens=1100, images=(1100,)), 1198e6),
    ("tiny", Work(tokens=250, clip_tokens=250), 118e6),
    ("tiny", Work(tokens=750, clip_tokens=750), 373e6),
]
"""Model, work, and the peak above weights and cache in bytes, measured with MLX 0.32.4 on a CPU
with 2 cores, E2B in 4 bits. Text ran only the prefill, media only the tower."""


def activations(config: Gemma4Config, work: Work) -> int:
    if work.images:
        return vision_size(config.vision, work.images, CPU)
    if work.clip_tokens:
        return audio_size(config.audio, work.clip_tokens, CPU)
    return prefill_size(config.text, work, CPU)


def test_estimated_activations_are_one_to_two_times_the_measured_peaks(tiny: LoadedModel) -> None:
    configs = {"E2B": published("E2B"), "tiny": tiny.network.config}
    shares = {
        (size, work): activations(configs[size], work) / peak for size, work, peak in MEASURED
    }
    assert {case: share for case, share in shares.items() if not 1 <= share <= 2.2} == {}


def test_a_prefill_on_this_machine_stays_below_its_estimate(tiny: LoadedModel) -> None:
    work = Work(tokens=400, step=256)
    mx.eval(tiny.network.parameters())
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    run = Prefill(
        network=tiny.network, ids=[5] * work.tokens, spans=(), soft_tokens=(), step=work.step
    )
    *_, logits = run.run(tiny.network.language_model.make_cache())
    mx.eval(logits)
    needed = footprint(tiny.network.config, NO_WEIGHTS, numerics_of(tiny), work)
    assert mx.get_peak_memory() - before <= needed.total


def test_frames_go_through_the_tower_in_batches_so_a_longer_clip_needs_no_more_memory() -> None:
    """The batches of engine/encode.py."""
    vision = published("E2B").vision
    assert vision_size(vision, (70,) * 6, CPU) == vision_size(vision, (70,) * 32, CPU)
    assert vision_size(vision, (70,), CPU) < vision_size(vision, (70,) * 2, CPU)


@pytest.mark.parametrize("size", ["E2B", "E4B", "26B-A4B", "31B"])
@pytest.mark.parametrize("gpu", [GPU, CARD], ids=["Metal", "CUDA"])
def test_on_a_gpu_memory_of_an_image_grows_linearly_where_mlx_fuses_attention(
    size: str, gpu: Numerics
) -> None:
    """The towers have heads of 64 and 72. Without fusing, attention weights grow quadratically."""
    vision = published(size).vision
    assert isinstance(vision, VisionConfig)
    small, large = (vision_size(vision, (n,), gpu) for n in (280, 1120))
    assert large == 4 * small
    unfused = replace(vision, head_dim=100)
    small, large = (vision_size(unfused, (n,), gpu) for n in (280, 1120))
    assert large > 4 * small
    small, large = (vision_size(vision, (n,), CPU) for n in (280, 1120))
    assert large > 4 * small


def test_a_gpu_holds_two_blocks_of_queries_where_the_tower_is_not_fused() -> None:
    """In float32 on CUDA: 16 heads of 72, 10,080 patches, blocks of 2,048 queries."""
    vision = published("31B").vision
    assert isinstance(vision, VisionConfig)
    fused = vision_size(vision, (1120,), replace(CARD, backend="Metal"))
    unfused = vision_size(vision, (1120,), replace(CARD, item=4))
    assert unfused - 2 * fused == 4 * 16 * 2 * 2048 * 10_080


FUSED = {
    ("Metal", 2): {64, 72, 80, 96, 128},
    ("Metal", 4): {64, 72, 80, 96, 128},
    ("CUDA", 2): {64, 72, 80, 96, 128},
    ("CUDA", 4): set(),
    ("CPU", 4): set(),
}
"""Head sizes of prompts for which MLX's attention holds no weights, by backend and bytes."""


@pytest.mark.parametrize(("device", "heads"), FUSED.items())
def test_which_heads_mlx_fuses(device: tuple[Backend, int], heads: set[int]) -> None:
    numerics = Numerics(backend=device[0], item=device[1])
    sizes = (64, 72, 80, 96, 100, 128, 192, 256, 512)
    assert {size for size in sizes if not numerics.holds_attention(size)} == heads


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("language_model.model.norm.weight", "text"),
        ("masked_embedding.centroids.weight", "text"),
        ("vision_tower.patch_embedder.input_proj.weight", "vision"),
        ("vision_embedder.patch_dense.weight", "vision"),
        ("embed_vision.embedding_projection.weight", "vision"),
        ("audio_tower.layers.0.norm_out.weight", "audio"),
        ("embed_audio.embedding_projection.weight", "audio"),
    ],
)
def test_a_tensor_belongs_to_the_text_or_to_a_tower(name: str, part: str) -> None:
    assert part_of(name) == part


# What is kept for later turns


def test_a_run_without_a_conversation_keeps_its_soft_tokens_only() -> None:
    text = published("E2B").text
    work = Work(tokens=8192, images=(280, 280), clip_tokens=750)
    assert kept_size(text, work, item=2) == 2 * 1536 * (280 + 280 + 750)


def test_a_turn_adds_a_checkpoint_up_to_the_limit_of_all() -> None:
    first = Work(tokens=8192, kept=Kept())
    small, large = published("E2B").text, published("31B").text
    assert kept_size(small, first, item=2) == 6_291_456
    second = replace(first, kept=Kept(checkpoints=6_291_456))
    assert kept_size(small, second, item=2) == 2 * 6_291_456
    assert kept_size(large, first, item=2) == 838_860_800
    late = replace(first, kept=Kept(checkpoints=838_860_800))
    assert kept_size(large, late, item=2) == KEPT_CHECKPOINTS


def test_a_turn_that_resumes_has_earlier_soft_tokens_and_what_full_layers_held_beyond_it() -> None:
    text = published("E2B").text
    first, longer, shorter = (
        kept_size(text, Work(tokens=8192, kept=kept), item=2)
        for kept in (
            Kept(),
            Kept(positions=4096, soft_tokens=KEPT_SOFT_TOKENS),
            Kept(positions=8192 + 4096),
        )
    )
    assert longer - first == KEPT_SOFT_TOKENS
    assert shorter - first == 6_144 * 4096


def test_prefill_stores_attention_weights_of_heads_that_mlx_does_not_fuse() -> None:
    """The language model's heads of 512: a chunk's weights for the context, up to a limit."""
    text = published("31B").text
    sizes = [prefill_size(text, Work(tokens=n), GPU) for n in (2048, 4096, 32_768, 131_072)]
    assert sizes[1] - sizes[0] == 2 * 32 * 512 * 2048
    assert sizes[2] == sizes[3] <= sizes[1] + 2 * 2 * MOST_SCORES


def test_eight_bits_save_nearly_half_of_the_full_layers_of_bfloat16() -> None:
    text = published("E2B").text
    whole, quantized = (cache_size(text, 32_768, item=2, kv_bits=bits) for bits in (None, 8))
    assert quantized.sliding == whole.sliding
    # A scale and a bias of 2 bytes each for 64 numbers.
    assert quantized.full * 128 == whole.full * (64 + 4)
    on_cuda, on_mac = (
        prefill_size(text, Work(tokens=32_768, kv_bits=8), replace(GPU, backend=backend))
        - prefill_size(text, Work(tokens=32_768), replace(GPU, backend=backend))
        for backend in ("CUDA", "Metal")
    )
    assert (on_cuda, on_mac) == (2 * 2 * 32_768 * 512, 0)


def test_whole_runs_fit_the_machines_that_the_models_are_recommended_for() -> None:
    """8,192 tokens with an image and half a minute of sound, in 4 bits on a GPU."""
    gigabytes = {
        "E2B": (3.5, 5.0),
        "E4B": (5.1, 7.0),
        "12B": (6.7, 9.0),
        "26B-A4B": (15.3, 17.5),
        "31B": (18.4, 22.0),
    }
    work = Work(tokens=8192, images=(280,), clip_tokens=750, kept=Kept())
    for size, (least, most) in gigabytes.items():
        weights = weights_of(headers_of(f"{size}.mlx-community-4bit"), None, mapped=False)
        needed = footprint(published(size), weights, GPU, work)
        assert least < needed.total / 1e9 < most, size


# More work never needs less memory


@given(
    st.sampled_from(["E2B", "12B", "26B-A4B"]),
    st.sampled_from([CPU, GPU, CARD]),
    st.builds(
        Work,
        tokens=st.integers(1, 100_000),
        step=st.integers(1, 8192),
        images=st.integers(1, 1120).flatmap(
            lambda size: st.integers(0, 40).map(lambda count: (size,) * count)
        ),
        clip_tokens=st.integers(0, 1500),
    ),
    st.integers(1, 5000),
)
def test_more_work_never_needs_less_memory(
    size: str, numerics: Numerics, work: Work, more: int
) -> None:
    config = published(size)
    base = footprint(config, NO_WEIGHTS, numerics, work).total
    assert base <= footprint(config, NO_WEIGHTS, numerics, replace(work, kept=Kept())).total
    larger = [
        replace(work, tokens=work.tokens + more),
        replace(work, step=work.step + more),
        replace(work, clip_tokens=work.clip_tokens + more),
        replace(work, images=(*work.images, *work.images[:1])),
    ]
    if len(work.images) == 1:
        larger.append(replace(work, images=(work.images[0] + more,)))
    less = [each for each in larger if footprint(config, NO_WEIGHTS, numerics, each).total < base]
    assert less == []
