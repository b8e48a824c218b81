"""Features of images and audio, frame times and processor configs, checked against the reference.

Literal numbers were computed with transformers 5.23.
"""

from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemma4cli.decoded import AudioClip
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import CheckpointError, MediaDecodeError, UnsupportedModelError
from gemma4cli.messages import AudioPart, Message, Source, TextPart
from gemma4cli.models.audio_tower import SubsampleProjection
from gemma4cli.models.tower_config import AudioConfig, VisionConfig
from gemma4cli.models.vision_tower import VisionTower
from gemma4cli.options import SOFT_TOKEN_BUDGETS
from gemma4cli.processing.audio import (
    audio_features,
    log_mel,
    max_samples,
    mel_frame_count,
    mel_token_count,
    raw_token_count,
)
from gemma4cli.processing.config import (
    MelConfig,
    ProcessorConfig,
    RawAudioConfig,
    VisionProcessorConfig,
)
from gemma4cli.processing.image import fitted_size, image_features, patch_features
from gemma4cli.processing.video import frame_times

FIXTURES = Path(__file__).parents[2] / "fixtures"
VISION, MEL, RAW = VisionProcessorConfig(), MelConfig(), RawAudioConfig()
Size = tuple[int, int]

# Images

# fmt: off
SIZES: list[tuple[Size, list[Size]]] = [
    # height and width, then the size at each budget
    ((48, 48), [(384, 384), (528, 528), (768, 768), (1104, 1104), (1584, 1584)]),
    ((1, 1), [(384, 384), (528, 528), (768, 768), (1104, 1104), (1584, 1584)]),
    ((1080, 1920), [(288, 528), (384, 720), (576, 1056), (816, 1488), (1200, 2112)]),
    ((1920, 1080), [(528, 288), (720, 384), (1056, 576), (1488, 816), (2112, 1200)]),
    ((480, 640), [(336, 432), (480, 624), (672, 912), (960, 1296), (1344, 1824)]),
    ((333, 777), [(240, 576), (336, 864), (480, 1200), (720, 1728), (1008, 2448)]),
    ((47, 49), [(384, 384), (528, 576), (768, 816), (1104, 1152), (1536, 1632)]),
    ((100, 10000), [(48, 3360), (48, 5664), (48, 8016), (96, 11328), (144, 16032)]),
    ((10000, 100), [(3360, 48), (5664, 48), (8016, 48), (11328, 96), (16032, 144)]),
    ((1, 5000), [(48, 3360), (48, 6720), (48, 13440), (48, 26880), (48, 53760)]),
    ((5000, 1), [(3360, 48), (6720, 48), (13440, 48), (26880, 48), (53760, 48)]),
    ((3, 700), [(48, 3360), (48, 6720), (48, 12240), (48, 17328), (96, 24528)]),
    ((700, 3), [(3360, 48), (6720, 48), (12240, 48), (17328, 48), (24528, 96)]),
    ((719, 1283), [(288, 528), (384, 720), (576, 1056), (816, 1488), (1200, 2112)]),
    ((50, 2400), [(48, 2736), (48, 3888), (96, 5520), (144, 7824), (192, 11088)]),
]
# fmt: on


def test_sizes_are_fitted_as_in_the_reference() -> None:
    found = [
        (given, [fitted_size(*given, budget, VISION) for budget in SOFT_TOKEN_BUDGETS])
        for given, _ in SIZES
    ]
    assert found == SIZES


SIDE = st.integers(1, 65_000) | st.sampled_from([1, 47, 48, 49, 95, 96, 97])


@given(height=SIDE, width=SIDE, budget=st.sampled_from(SOFT_TOKEN_BUDGETS))
def test_every_size_fits_its_budget_in_whole_soft_tokens(
    height: int, width: int, budget: int
) -> None:
    rows, columns = (side / 48 for side in fitted_size(height, width, budget, VISION))
    assert rows.is_integer()
    assert columns.is_integer()
    assert 1 <= rows * columns <= budget
    turned = fitted_size(width, height, budget, VISION)
    assert turned == (columns * 48, rows * 48)


@given(height=SIDE, width=SIDE, longest=st.integers(1, 200))
def test_no_side_has_more_soft_tokens_than_there_are_positions(
    height: int, width: int, longest: int
) -> None:
    """The ratio of the sides is kept as far as whole soft tokens allow."""
    config = dataclasses.replace(VISION, longest_side=longest)
    free = fitted_size(height, width, 1120, VISION)
    rows, columns = (side // 48 for side in fitted_size(height, width, 1120, config))
    assert min(rows, columns) >= 1
    assert max(rows, columns) <= longest
    if max(free) <= longest * 48:
        assert (rows * 48, columns * 48) == free
    else:
        assert max(rows, columns) == longest


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_patches_are_squares_of_the_image_in_raster_order() -> None:
    """An image of a fitted size is not resized; patches hold rows, columns and channels.

    48 x 96 pixels are 1 x 2 soft tokens, or 3 x 6 patches of 16.
    """
    pixels = picture(480, 624)
    assert fitted_size(480, 624, 140, VISION) == (480, 624)
    features = image_features(pixels, 140, VISION, unified=False)
    assert features.grid == (30, 39)
    assert features.soft_tokens == 130
    assert features.patches().dtype == np.float32
    patch = features.patches()[2 * 39 + 5].reshape(16, 16, 3)
    expected = (pixels[32:48, 80:96] / 255).astype(np.float32)
    np.testing.assert_allclose(patch, expected, rtol=1e-7)
    large = image_features(pixels, 140, VISION, unified=True)
    assert (large.grid, large.soft_tokens) == ((10, 13), 130)
    patch = large.patches()[1 * 13 + 2].reshape(48, 48, 3)
    expected = (pixels[48:96, 96:144] / 255).astype(np.float32)
    np.testing.assert_allclose(patch, expected, rtol=1e-7)


@pytest.mark.parametrize("unified", [False, True])
def test_resized_picture_stays_in_range(unified: bool) -> None:
    """Bicubic interpolation overshoots at edges; converting to bytes clips it."""
    pixels = np.zeros((100, 150, 3), np.uint8)
    pixels[:, 75:] = 255
    features = image_features(pixels, 70, VISION, unified=unified)
    assert features.patches().min() == 0
    assert features.patches().max() == 1
    assert features.soft_tokens == 6 * 10


def test_digests_differ_by_image_budget_and_kind_of_model() -> None:
    first, second = picture(48, 96), picture(48, 96, seed=1)
    digests = {
        image_features(pixels, budget, VISION, unified=unified).digest
        for pixels in (first, second)
        for budget in (70, 140)
        for unified in (False, True)
    }
    assert len(digests) == 8
    again = image_features(first.copy(), 140, VISION, unified=False).digest
    assert again in digests


@pytest.fixture(scope="module")
def tiny_tower() -> VisionTower:
    """A tower with minimal weights, for the number of its outputs."""
    tower = VisionTower(
        VisionConfig(
            hidden_size=4,
            intermediate_size=4,
            num_layers=0,
            num_heads=1,
            num_kv_heads=1,
            head_dim=4,
            patch_size=16,
            pooling=3,
            position_table_size=256,
            rope_theta=100.0,
            rms_norm_eps=1e-6,
            standardize=False,
            clipped_linears=False,
        )
    )
    return tower


def test_the_tower_yields_as_many_soft_tokens_as_were_counted(tiny_tower: VisionTower) -> None:
    sizes = [(1, 1), (48, 48), (333, 777), (777, 333), (20, 900), (900, 20), (719, 1283)]
    wrong = []
    for size, budget in product(sizes, [70, 140, 280]):
        features = image_features(picture(*size), budget, VISION, unified=False)
        unified = image_features(picture(*size), budget, VISION, unified=True)
        output = tiny_tower(mx.array(features.patches())[None], features.grid)
        counts = {
            output.shape[1],
            features.soft_tokens,
            unified.soft_tokens,
            len(unified.patches()),
        }
        if len(counts) != 1:
            wrong.append((size, budget, counts))
    assert wrong == []


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), unified=st.booleans())
def test_a_fitted_image_has_a_patch_for_every_square(
    rows: int, columns: int, unified: bool
) -> None:
    features = patch_features(
        np.zeros((rows * 48, columns * 48, 3), np.uint8), VISION, unified=unified
    )
    assert features.soft_tokens == rows * columns
    scale = 1 if unified else VISION.pooling
    assert features.grid == (rows * scale, columns * scale)
    assert features.patches().shape == (rows * columns * scale**2, (48 // scale) ** 2 * 3)


# Audio


def counted(samples: int) -> int:
    """A token for every 640 samples begun, if at least 161 of the last 640 exist."""
    return math.ceil(((samples - 1) // 160) / 4) if samples > 0 else 0


def test_tokens_of_every_length_around_the_limits() -> None:
    for base in (0, 16_000, 479_360):
        for samples in range(base, base + 641):
            assert mel_token_count(samples, MEL) == counted(samples), samples


# samples, frames, soft tokens
MEL_COUNTS = [
    (0, 0, 0),
    (160, 0, 0),
    (161, 1, 1),
    (320, 1, 1),
    (321, 2, 1),
    (641, 4, 1),
    (800, 4, 1),
    (801, 5, 2),
    (16_000, 99, 25),
    (480_000, 2999, 750),
    (480_001, 2999, 750),
    (2_000_000, 2999, 750),
]


def test_frames_and_tokens_are_counted_as_in_the_reference() -> None:
    found = [
        (
            samples,
            mel_frame_count(min(samples, max_samples(MEL)), MEL),
            mel_token_count(samples, MEL),
        )
        for samples, _, _ in MEL_COUNTS
    ]
    assert found == MEL_COUNTS


@given(samples=st.integers(0, 5000))
@example(samples=160)
@example(samples=161)
@example(samples=321)
@example(samples=801)
@example(samples=16_000)
def test_features_have_the_frames_and_tokens_that_were_counted(samples: int) -> None:
    features = audio_features(np.zeros(samples, np.float32), MEL)
    assert features.frames.shape == (mel_frame_count(samples, MEL), 128)
    assert features.soft_tokens == mel_token_count(samples, MEL) == counted(samples)
    assert features.heard_seconds == samples / 16_000


def test_the_tower_yields_as_many_audio_tokens_as_were_counted() -> None:
    config = json.loads((FIXTURES / "parity" / "checkpoints" / "e2b" / "config.json").read_bytes())
    part = SubsampleProjection(AudioConfig.from_dict(config["audio_config"]))
    for samples in range(161, 161 + 1300, 80):
        frames = mx.zeros((1, mel_frame_count(samples, MEL), 128))
        assert part(frames).shape[1] == mel_token_count(samples, MEL) == counted(samples)


# samples, soft tokens
RAW_COUNTS = {0: 0, 1: 1, 640: 1, 641: 2, 480_000: 750, 480_001: 751, 1_000_000: 1563}


def test_raw_frames_are_counted_without_a_limit() -> None:
    assert {samples: raw_token_count(samples, RAW) for samples in RAW_COUNTS} == RAW_COUNTS


@given(samples=st.integers(0, 5000))
def test_raw_frames_are_the_samples_padded_with_zeros(samples: int) -> None:
    sound = np.linspace(-3, 3, samples, dtype=np.float32)
    features = audio_features(sound, RAW)
    assert features.frames.shape == (features.soft_tokens, 640)
    assert features.soft_tokens == raw_token_count(samples, RAW)
    flat = features.frames.reshape(-1)
    np.testing.assert_array_equal(flat[:samples], sound)
    assert not flat[samples:].any()
    assert features.heard_seconds == samples / 16_000


def sound(samples: int) -> npt.NDArray[np.float32]:
    """Two tones; the second begins at sample 701."""
    t = np.arange(samples)
    low = 0.5 * np.sin(2 * np.pi * 440 * t / 16_000)
    high = 0.25 * np.sin(2 * np.pi * 3000 * t / 16_000) * (t > 700)
    return (low + high).astype(np.float32)


def test_log_mel_equals_the_reference() -> None:
    features = log_mel(sound(1500), MEL)
    bins = [0, 9, 10, 20, 60, 100, 126, 127]
    expected = [
        [-6.90776, 0.84050, 0.04963, 1.60782, -1.10396, -2.10516, -2.16630, -2.15303],
        [-6.90776, -3.11965, -3.88410, -0.33496, -6.39600, -6.84479, -6.90177, -6.90266],
        [-6.90776, -3.10738, -3.87216, -0.31821, -2.36316, -1.30612, -1.57138, -1.55821],
        [-6.90776, -3.11975, -3.88420, -0.33496, -6.38653, -6.39187, -6.86917, -6.86920],
    ]  # fmt: skip
    assert features.shape == (9, 128)
    np.testing.assert_allclose(features[[0, 3, 5, 8]][:, bins], expected, atol=1e-5)


def test_log_mel_follows_the_formula() -> None:
    """Half a frame of silence, a periodic Hann window, magnitudes, triangles, an added floor."""
    samples = sound(900)
    padded = np.concatenate([np.zeros(160), samples])
    window = [math.sin(math.pi * n / 320) ** 2 for n in range(320)]
    waves = np.exp(-2j * np.pi * np.outer(np.arange(320), np.arange(257)) / 512)
    edges = np.linspace(0, 2595 * math.log10(1 + 8000 / 700), 130)
    corners = 700 * (10 ** (edges / 2595) - 1)
    filters = np.zeros((257, 128))
    for band in range(128):
        low, peak, high = corners[band : band + 3]
        for bin_ in range(257):
            hertz = bin_ * 8000 / 256
            rise, fall = (hertz - low) / (peak - low), (high - hertz) / (high - peak)
            filters[bin_, band] = max(0.0, min(rise, fall))
    expected = [
        np.log(np.abs((padded[i : i + 320] * window) @ waves) @ filters + 0.001)
        for i in range(0, 160 * mel_frame_count(900, MEL), 160)
    ]
    # The window is rounded to float32, as in the reference.
    np.testing.assert_allclose(log_mel(samples, MEL), expected, atol=5e-4)


def test_a_long_clip_is_truncated_to_thirty_seconds() -> None:
    features = audio_features(sound(500_000), MEL)
    assert (features.soft_tokens, features.heard_seconds) == (750, 30.0)
    assert len(features.frames) == 2999
    whole = audio_features(sound(480_000), MEL)
    np.testing.assert_array_equal(features.frames, whole.frames)
    assert features.digest == whole.digest


def test_digests_differ_by_clip_and_config() -> None:
    clips = [sound(1000), sound(1001), sound(1000) * 0.5]
    digests = {audio_features(clip, config).digest for clip in clips for config in (MEL, RAW)}
    assert len(digests) == 6


def heard(model: LoadedModel, samples: int) -> Any:
    """Model inputs of a question about one clip."""
    part = AudioPart(source=Source(name="talk.wav"))
    message = Message(role="user", content=(TextPart(text="What?"), part))
    clip = AudioClip(samples=np.zeros(samples, np.float32), name="talk.wav")
    return model.processor.prepare([message], [clip])


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_a_notice_reports_a_truncated_clip(arch: str, parity_model: Any) -> None:
    inputs = heard(parity_model(arch), 40 * 16_000)
    if arch == "12b":
        assert inputs.notices == ()
        assert inputs.num_soft_tokens == 1000
        return
    (notice,) = inputs.notices
    assert "talk.wav" in notice
    assert "30 s of 40.0 s" in notice
    assert inputs.num_soft_tokens == 750
    assert heard(parity_model(arch), 30 * 16_000).notices == ()


@pytest.mark.parametrize(("arch", "samples"), [("e2b", 160), ("e2b", 0), ("12b", 0)])
def test_a_clip_too_short_for_a_token_is_an_error(
    arch: str, samples: int, parity_model: Any
) -> None:
    with pytest.raises(MediaDecodeError, match=r"talk\.wav: (0|10) ms of sound are too short"):
        heard(parity_model(arch), samples)


# Video


RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(60)]


@given(rate=st.sampled_from(RATES), frames=st.integers(1, 32), total=st.integers(32, 6000))
def test_a_constant_frame_rate_gives_the_frames_of_the_reference(
    rate: Fraction, frames: int, total: int
) -> None:
    """Frames i*T//n; a frame is on screen from its own time to that of the next one."""
    times = frame_times(duration=float(total / rate), frame_count=total, max_frames=frames)
    shown = [math.floor(time * rate + 1e-6) for time in times]
    assert shown == [i * total // frames for i in range(frames)]


TIMES: list[tuple[dict[str, Any], tuple[float, ...]]] = [
    ({}, (0.0, 2.5, 5.0, 7.5)),
    ({"max_frames": 1}, (0.0,)),
    ({"fps": 0.2}, (0.0, 5.0)),
    ({"fps": 0.3}, (0.0, 10 / 3, 20 / 3)),
    ({"fps": 0.01}, (0.0,)),
    ({"fps": 50.0}, (0.0, 2.5, 5.0, 7.5)),
    ({"start": 6.0}, (6.0, 7.0, 8.0, 9.0)),
    ({"start": 2.0, "end": 4.0}, (2.0, 2.5, 3.0, 3.5)),
    ({"end": 99.0}, (0.0, 2.5, 5.0, 7.5)),
    ({"start": 4.0, "end": 8.0, "fps": 0.5}, (4.0, 6.0)),
    ({"frame_count": 2}, (0.0, 5.0)),
    ({"frame_count": 1}, (0.0,)),
    ({"frame_count": 10, "start": 8.0}, (8.0, 9.0)),
    ({"frame_count": None}, (0.0, 2.5, 5.0, 7.5)),
    ({"duration": 0.0, "frame_count": None}, (0.0,)),
]


def test_frame_times_follow_the_options() -> None:
    """Of ten seconds with 250 frames, four frames at most."""
    given_: dict[str, Any] = {"duration": 10.0, "frame_count": 250, "max_frames": 4}
    wrong = [
        (options, found)
        for options, times in TIMES
        if (found := frame_times(**given_ | options)) != pytest.approx(times)
    ]
    assert wrong == []


# processor_config.json


def processor_json(name: str) -> dict[str, Any]:
    folder = FIXTURES / "gemma4" / "configs" / name
    content: dict[str, Any] = json.loads((folder / "processor_config.json").read_bytes())
    return content


PUBLISHED = sorted(FIXTURES.glob("gemma4/configs/*/processor_config.json"))


def test_published_configs_have_the_default_values() -> None:
    assert PUBLISHED
    wrong = [
        path.parent.name
        for path in PUBLISHED
        for unified in ["12B" in path.parent.name]
        if ProcessorConfig.from_dict(processor_json(path.parent.name), unified=unified)
        != ProcessorConfig(vision=VISION, audio=RAW if unified else MEL, assumed=())
    ]
    assert wrong == []


@pytest.mark.parametrize("unified", [False, True])
def test_without_a_file_the_published_values_are_used(unified: bool) -> None:
    config = ProcessorConfig.from_dict(None, unified=unified)
    assert (config.vision, config.audio) == (VISION, RAW if unified else MEL)
    assert config.assumed == ("image_processor", "video_processor", "feature_extractor")


def test_other_values_are_read_from_the_file() -> None:
    raw = processor_json("google__gemma-4-E2B-it")
    raw["image_processor"]["max_soft_tokens"] = 560
    raw["video_processor"]["num_frames"] = 8
    raw["feature_extractor"]["mel_floor"] = 1e-5
    raw["audio_seq_length"] = 188
    config = ProcessorConfig.from_dict(raw, unified=False)
    assert (config.vision.image_budget, config.vision.video_frames) == (560, 8)
    assert isinstance(config.audio, MelConfig)
    assert (config.audio.floor, max_samples(config.audio)) == (1e-5, 188 * 640)


UNSUPPORTED: list[tuple[str, str, object]] = [
    ("image_processor", "resample", 2),
    ("image_processor", "do_normalize", True),
    ("image_processor", "do_resize", False),
    ("video_processor", "image_mean", [0.5, 0.5, 0.5]),
    ("video_processor", "resample", 2),
    ("feature_extractor", "dither", 0.1),
    ("feature_extractor", "preemphasis", 0.97),
    ("feature_extractor", "sampling_rate", 8000),
    ("feature_extractor", "per_bin_mean", [0.0]),
]


def test_unsupported_values_are_rejected() -> None:
    for section, key, value in UNSUPPORTED:
        raw = processor_json("google__gemma-4-E2B-it")
        raw[section][key] = value
        with pytest.raises(UnsupportedModelError, match=f"{section}.* {key}"):
            ProcessorConfig.from_dict(raw, unified=False)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"image_processor.pooling_kernel_size": 64}, "max_soft_tokens and pooling_kernel_size"),
        ({"image_processor.patch_size": 1024}, "patch_size and pooling_kernel_size"),
        ({"video_processor.max_soft_tokens": 4096}, "max_soft_tokens and pooling_kernel_size"),
        ({"feature_extractor.fft_length": 65536}, "audio_seq_length and fft_length"),
        ({"audio_seq_length": 65536}, "audio_seq_length and fft_length"),
        (
            {"feature_extractor.feature_size": 2048, "feature_extractor.fft_length": 2048},
            "feature_size and fft_length",
        ),
    ],
)
def test_sizes_are_bounded_together(sizes: dict[str, int], problem: str) -> None:
    """Each of them is allowed alone; the arrays that have all of them would not fit in memory."""
    raw = processor_json("google__gemma-4-E2B-it")
    for path, value in sizes.items():
        *sections, key = path.split(".")
        (raw[sections[0]] if sections else raw)[key] = value
    with pytest.raises(CheckpointError, match=f"{problem} are too large together"):
        ProcessorConfig.from_dict(raw, unified=False)


REQUIRED = [
    ("E2B", "image_processor", "max_soft_tokens"),
    ("E2B", "image_processor", "rescale_factor"),
    ("E2B", "video_processor", "num_frames"),
    ("E2B", "feature_extractor", "mel_floor"),
    ("12B", "feature_extractor", "audio_samples_per_token"),
]


def test_a_missing_key_is_named() -> None:
    for name, section, key in REQUIRED:
        raw = processor_json(f"google__gemma-4-{name}-it")
        del raw[section][key]
        with pytest.raises(CheckpointError, match=f"{section} has no '{key}'"):
            ProcessorConfig.from_dict(raw, unified=name == "12B")
