"""What a run takes: against the published files' sizes, and against peaks that were measured."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import pytest
from support.published import config_of, tensor_lists

from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.model_info import numerics_of, weights_in_memory
from gemma4cli.engine.prefill import Prefill
from gemma4cli.hub.safetensors_headers import TensorHeader, read_headers, weights_of
from gemma4cli.machine.memory import (
    Numerics,
    Weights,
    Work,
    audio_size,
    cache_size,
    footprint,
    prefill_size,
    vision_size,
)
from gemma4cli.models.config import Gemma4Config, VisionConfig

CPU = Numerics(item=4, on_cpu=True)
GPU = Numerics(item=2, on_cpu=False)
NO_WEIGHTS = Weights(text=0, vision=0, audio=0)


def published(size: str) -> Gemma4Config:
    return Gemma4Config.from_dict(config_of(f"google__gemma-4-{size}-it"))


def headers_of(name: str) -> dict[str, TensorHeader]:
    return {
        tensor: TensorHeader(dtype=dtype, shape=tuple(shape))
        for tensor, (dtype, shape) in tensor_lists()[name].items()
    }


# The cache


@pytest.mark.parametrize(
    ("size", "per_token", "windows"),
    [
        ("E2B", 6_144, 6_291_456),
        ("E4B", 16_384, 20_971_520),
        ("12B", 16_384, 335_544_320),
        ("26B-A4B", 20_480, 209_715_200),
        ("31B", 81_920, 838_860_800),
    ],
)
def test_cache_of_published_models(size: str, per_token: int, windows: int) -> None:
    """In bfloat16: what a token takes in the full layers, and all windows when they are full."""
    cache = cache_size(published(size).text, 32_768, item=2)
    assert (cache.full, cache.sliding) == (per_token * 32_768, windows)


def test_sliding_layers_hold_the_window_at_most() -> None:
    text = published("E2B").text
    sizes = [cache_size(text, tokens, item=2).sliding for tokens in (256, 512, 1024, 100_000)]
    assert sizes[0] < sizes[1] == sizes[2] == sizes[3]


def test_sliding_layers_hold_the_chunk_besides_while_it_is_read() -> None:
    text = published("E2B").text
    still = cache_size(text, 4096, item=2).sliding
    assert cache_size(text, 4096, item=2, step=512).sliding == 2 * still


# Weights


@pytest.mark.parametrize(
    ("tensors", "size"),
    [
        ("E2B.mlx-community-4bit", 3_550_670_554),
        ("E2B.google-hf-bf16", 10_246_621_918),
        ("E4B.mlx-community-4bit", 5_146_800_534),
        ("12B.mlx-community-4bit", 6_741_039_511),
        ("26B-A4B.mlx-community-4bit", 15_341_205_776),
        ("31B.mlx-community-4bit", 18_412_016_676),
    ],
)
def test_weights_are_the_published_files(tensors: str, size: int) -> None:
    """Files are larger by their headers."""
    total = weights_of(headers_of(tensors), None).total
    assert 0.999 * size < total < size


def test_weights_of_a_quantised_model_on_a_cpu() -> None:
    """What loading measured: the numbers are float32, the packed ones stay."""
    assert weights_of(headers_of("E2B.mlx-community-4bit"), 4) == Weights(
        text=2_893_821_068, vision=670_197_504, audio=1_220_774_912
    )


def test_weights_by_their_headers_are_those_in_memory(tiny: LoadedModel) -> None:
    size = numerics_of(tiny).item
    assert weights_of(read_headers(tiny.folder), size) == weights_in_memory(tiny)


def test_towers_without_work_stay_on_disk() -> None:
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
"""Model, work, and the peak above weights and cache, in bytes: mlx 0.32.4 on a CPU of 2 cores,
E2B in 4 bits. Of the first two kinds of work only the prefill ran, of the others only the tower."""


@pytest.mark.parametrize(("size", "work", "peak"), MEASURED)
def test_activations_bound_what_was_measured(
    size: str, work: Work, peak: float, tiny: LoadedModel
) -> None:
    config = tiny.network.config if size == "tiny" else published(size)
    if work.images:
        estimate = vision_size(config.vision, work.images, CPU)
    elif work.clip_tokens:
        estimate = audio_size(config.audio, work.clip_tokens, CPU)
    else:
        estimate = prefill_size(config.text, work, CPU)
    assert peak <= estimate <= 2.2 * peak


def test_a_prefill_stays_below_its_estimate(tiny: LoadedModel) -> None:
    """Measured now, on this machine."""
    tokens = 700
    mx.eval(tiny.network.parameters())
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    run = Prefill(network=tiny.network, ids=[5] * tokens, spans=(), soft_tokens=(), step=512)
    *_, logits = run.run(tiny.network.language_model.make_cache())
    mx.eval(logits)
    needed = footprint(tiny.network.config, NO_WEIGHTS, numerics_of(tiny), Work(tokens=tokens))
    assert mx.get_peak_memory() - before <= needed.total


def test_frames_go_through_the_tower_in_batches() -> None:
    """As engine/encode.py cuts them, so a longer clip takes no more."""
    vision = published("E2B").vision
    assert vision_size(vision, (70,) * 6, CPU) == vision_size(vision, (70,) * 32, CPU)
    assert vision_size(vision, (70,), CPU) < vision_size(vision, (70,) * 2, CPU)


@pytest.mark.parametrize("size", ["E2B", "E4B", "26B-A4B", "31B"])
def test_on_a_gpu_memory_of_an_image_grows_linearly_where_mlx_fuses_attention(size: str) -> None:
    """The towers have heads of 64 and 72. Without fusing, attention weights grow quadratically."""
    vision = published(size).vision
    assert isinstance(vision, VisionConfig)
    small, large = (vision_size(vision, (n,), GPU) for n in (280, 1120))
    assert large == 4 * small
    unfused = replace(vision, head_dim=100)
    small, large = (vision_size(unfused, (n,), GPU) for n in (280, 1120))
    assert large > 4 * small
    small, large = (vision_size(vision, (n,), CPU) for n in (280, 1120))
    assert large > 4 * small


def test_prefill_of_long_contexts_stores_attention_weights_of_heads_that_mlx_does_not_fuse() -> (
    None
):
    """The language model's heads of 256 and 512: a chunk's weights for the whole context."""
    text = published("31B").text
    added = prefill_size(text, Work(tokens=32_768), GPU) - prefill_size(
        text, Work(tokens=16_384), GPU
    )
    assert added == 2 * 32 * 512 * 16_384


@pytest.mark.parametrize(
    ("size", "tensors", "gigabytes"),
    [
        ("E2B", "E2B.mlx-community-4bit", (3.5, 5.0)),
        ("E4B", "E4B.mlx-community-4bit", (5.1, 7.0)),
        ("12B", "12B.mlx-community-4bit", (6.7, 9.0)),
        ("26B-A4B", "26B-A4B.mlx-community-4bit", (15.3, 17.5)),
        ("31B", "31B.mlx-community-4bit", (18.4, 22.0)),
    ],
)
def test_whole_runs_fit_the_machines_they_are_recommended_for(
    size: str, tensors: str, gigabytes: tuple[float, float]
) -> None:
    """8,192 tokens with an image and half a minute of sound, on a GPU."""
    work = Work(tokens=8192, images=(280,), clip_tokens=750)
    needed = footprint(published(size), weights_of(headers_of(tensors), None), GPU, work)
    least, most = (1e9 * n for n in gigabytes)
    assert least < needed.total < most
