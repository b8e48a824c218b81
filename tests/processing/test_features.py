"""Pixels, samples and clips become what the reference makes of them, down to the count.

Numbers that stand here as they are were taken from transformers 5.23.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from gemma4cli.decoded import AudioClip
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import CheckpointError, MediaDecodeError, UnsupportedModelError
from gemma4cli.messages import AudioPart, Message, Source, TextPart
from gemma4cli.models.audio_tower import SubsampleProjection
from gemma4cli.models.config import AudioConfig, VisionConfig
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
from gemma4cli.processing.image import fitted_size, image_features
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


@pytest.mark.parametrize(("given", "fitted"), SIZES, ids=[str(size) for size, _ in SIZES])
def test_fitted_size(given: Size, fitted: list[Size]) -> None:
    for budget, expected in zip(SOFT_TOKEN_BUDGETS, fitted, strict=True):
        assert fitted_size(*given, budget, VISION) == expected


def test_any_size_fits_its_budget() -> None:
    sides = [1, 2, 7, 15, 16, 47, 48, 49, 95, 96, 97, 640, 1023, 4000, 65_000]
    for height in sides:
        for width in sides:
            for budget in SOFT_TOKEN_BUDGETS:
                rows, columns = (side / 48 for side in fitted_size(height, width, budget, VISION))
                assert rows.is_integer()
                assert columns.is_integer()
                assert 1 <= rows * columns <= budget


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_patches_are_rows_of_pixels() -> None:
    """No resizing where the size fits: patch (y, x), and in it row, column, channel.

    48 x 96 pixels are 1 x 2 soft tokens, or 3 x 6 patches of 16.
    """
    pixels = picture(480, 624)
    assert fitted_size(480, 624, 140, VISION) == (480, 624)
    features = image_features(pixels, 140, VISION, unified=False)
    assert features.grid == (30, 39)
    assert features.soft_tokens == 130
    assert features.patches.dtype == np.float32
    patch = features.patches[2 * 39 + 5].reshape(16, 16, 3)
    expected = (pixels[32:48, 80:96] / 255).astype(np.float32)
    np.testing.assert_allclose(patch, expected, rtol=1e-7)
    large = image_features(pixels, 140, VISION, unified=True)
    assert (large.grid, large.soft_tokens) == ((10, 13), 130)
    patch = large.patches[1 * 13 + 2].reshape(48, 48, 3)
    expected = (pixels[48:96, 96:144] / 255).astype(np.float32)
    np.testing.assert_allclose(patch, expected, rtol=1e-7)


@pytest.mark.parametrize("unified", [False, True])
def test_resized_picture_stays_in_range(unified: bool) -> None:
    """Bicubic overshoots at edges; the values are bytes before they are floats."""
    pixels = np.zeros((100, 150, 3), np.uint8)
    pixels[:, 75:] = 255
    features = image_features(pixels, 70, VISION, unified=unified)
    assert features.patches.min() == 0
    assert features.patches.max() == 1
    assert features.soft_tokens == 6 * 10


def test_digest_tells_pictures_apart() -> None:
    """And the same picture at another budget; not the same picture twice."""
    first, second = picture(480, 624), picture(480, 624, seed=1)
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
    """A tower with next to no weights: it counts, and computes nothing of worth."""
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


@pytest.mark.parametrize("budget", [70, 140, 280])
@pytest.mark.parametrize(
    "size", [(1, 1), (48, 48), (333, 777), (777, 333), (20, 900), (900, 20), (719, 1283)]
)
def test_tower_gives_as_many_soft_tokens_as_were_counted(
    size: Size, budget: int, tiny_tower: VisionTower
) -> None:
    features = image_features(picture(*size), budget, VISION, unified=False)
    tower_out = tiny_tower(mx.array(features.patches)[None], features.grid)
    assert tower_out.shape[1] == features.soft_tokens
    unified = image_features(picture(*size), budget, VISION, unified=True)
    assert len(unified.patches) == unified.soft_tokens == features.soft_tokens


# Audio


def counted(samples: int) -> int:
    """Every 640 samples begin a token, if 161 of them are there; none for less than that."""
    return math.ceil(((samples - 1) // 160) / 4) if samples > 0 else 0


def test_token_count_of_every_length() -> None:
    for base in (0, 16_000, 479_360):
        for samples in range(base, base + 641):
            assert mel_token_count(samples, MEL) == counted(samples), samples


@pytest.mark.parametrize(
    ("samples", "frames", "tokens"),
    [
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
    ],
)
def test_frames_and_tokens(samples: int, frames: int, tokens: int) -> None:
    heard = min(samples, max_samples(MEL))
    assert mel_frame_count(heard, MEL) == frames
    assert mel_token_count(samples, MEL) == tokens
    if samples <= 16_000:
        assert log_mel(np.zeros(samples, np.float32), MEL).shape == (frames, 128)


def test_tower_halves_time_twice() -> None:
    """As many rows come out of the tower as tokens were counted, for every rest."""
    config = json.loads((FIXTURES / "parity" / "checkpoints" / "e2b" / "config.json").read_bytes())
    part = SubsampleProjection(AudioConfig.from_dict(config["audio_config"]))
    for samples in range(161, 161 + 1300, 80):
        frames = mx.zeros((1, mel_frame_count(samples, MEL), 128))
        assert part(frames).shape[1] == mel_token_count(samples, MEL) == counted(samples)


@pytest.mark.parametrize(
    ("samples", "tokens"),
    [(0, 0), (1, 1), (640, 1), (641, 2), (480_000, 750), (480_001, 751), (1_000_000, 1563)],
)
def test_raw_frames(samples: int, tokens: int) -> None:
    """The 12B takes samples as they are, the last frame filled with zeros; there is no end."""
    assert raw_token_count(samples, RAW) == tokens
    sound = np.linspace(-3, 3, samples, dtype=np.float32)
    features = audio_features(sound, RAW)
    assert features.frames.shape == (tokens, 640)
    assert features.soft_tokens == tokens
    flat = features.frames.reshape(-1)
    np.testing.assert_array_equal(flat[:samples], sound)
    assert not flat[samples:].any()
    assert features.heard_seconds == samples / 16_000


def sound(samples: int) -> npt.NDArray[np.float32]:
    """Two tones, the second one from sample 701 on."""
    t = np.arange(samples)
    low = 0.5 * np.sin(2 * np.pi * 440 * t / 16_000)
    high = 0.25 * np.sin(2 * np.pi * 3000 * t / 16_000) * (t > 700)
    return (low + high).astype(np.float32)


def test_log_mel_is_the_references() -> None:
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


def test_log_mel_is_the_formula() -> None:
    """Silence of half a frame, a periodic Hann window, magnitudes, triangles, a floor added."""
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


def test_long_clip_is_cut_at_thirty_seconds() -> None:
    features = audio_features(sound(500_000), MEL)
    assert (features.soft_tokens, features.heard_seconds) == (750, 30.0)
    assert len(features.frames) == 2999
    whole = audio_features(sound(480_000), MEL)
    np.testing.assert_array_equal(features.frames, whole.frames)
    assert features.digest == whole.digest


def test_digest_tells_clips_apart() -> None:
    clips = [sound(1000), sound(1001), sound(1000) * 0.5]
    digests = {audio_features(clip, config).digest for clip in clips for config in (MEL, RAW)}
    assert len(digests) == 6


def heard(model: LoadedModel, samples: int) -> Any:
    """What the processor makes of a question with one clip."""
    part = AudioPart(source=Source(name="talk.wav"))
    message = Message(role="user", content=(TextPart(text="What?"), part))
    clip = AudioClip(samples=np.zeros(samples, np.float32), name="talk.wav")
    return model.processor.prepare([message], [clip])


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_long_clip_is_told(arch: str, parity_model: Any) -> None:
    """Only by the models that do not hear all of it."""
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
def test_clip_too_short_to_hear(arch: str, samples: int, parity_model: Any) -> None:
    with pytest.raises(MediaDecodeError, match=r"talk\.wav: (0|10) ms of sound are too short"):
        heard(parity_model(arch), samples)


# Video


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(60)])
@pytest.mark.parametrize("frames", [1, 2, 3, 32])
def test_steady_clip_shows_the_references_frames(rate: Fraction, frames: int) -> None:
    """Frame number i*T//n, where a frame is on screen from its own time to the next one's."""
    for total in (32, 33, 47, 100, 999, 5401):
        times = frame_times(
            duration=float(total / rate), frame_count=total, max_frames=frames, fps=None
        )
        shown = [math.floor(time * rate + 1e-6) for time in times]
        assert shown == [i * total // frames for i in range(frames)]


@pytest.mark.parametrize(
    ("options", "times"),
    [
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
    ],
    ids=str,
)
def test_frame_times(options: dict[str, Any], times: tuple[float, ...]) -> None:
    """Ten seconds of 250 frames, four frames at most."""
    given = {"duration": 10.0, "frame_count": 250, "max_frames": 4} | options
    assert frame_times(**given) == pytest.approx(times)


def test_whole_number_of_frames_a_second() -> None:
    """Three seconds at one frame a second are three, whatever floats make of it."""
    for seconds in range(1, 60):
        times = frame_times(duration=seconds * 0.1 * 10, frame_count=None, max_frames=99, fps=1.0)
        assert len(times) == seconds


# processor_config.json


def processor_json(name: str) -> dict[str, Any]:
    folder = FIXTURES / "gemma4" / "configs" / name
    content: dict[str, Any] = json.loads((folder / "processor_config.json").read_bytes())
    return content


@pytest.mark.parametrize(
    "name",
    [path.parent.name for path in sorted(FIXTURES.glob("gemma4/configs/*/processor_config.json"))],
)
def test_published_config_is_read(name: str) -> None:
    unified = "12B" in name
    config = ProcessorConfig.from_dict(processor_json(name), unified=unified)
    assert config.vision == VISION
    assert config.audio == (RAW if unified else MEL)
    assert config.assumed == ()


@pytest.mark.parametrize("unified", [False, True])
def test_missing_file_means_the_published_values(unified: bool) -> None:
    config = ProcessorConfig.from_dict(None, unified=unified)
    assert (config.vision, config.audio) == (VISION, RAW if unified else MEL)
    assert config.assumed == ("image_processor", "video_processor", "feature_extractor")


def test_other_values_are_taken_over() -> None:
    raw = processor_json("google__gemma-4-E2B-it")
    raw["image_processor"]["max_soft_tokens"] = 560
    raw["video_processor"]["num_frames"] = 8
    raw["feature_extractor"]["mel_floor"] = 1e-5
    raw["audio_seq_length"] = 188
    config = ProcessorConfig.from_dict(raw, unified=False)
    assert (config.vision.image_budget, config.vision.video_frames) == (560, 8)
    assert isinstance(config.audio, MelConfig)
    assert (config.audio.floor, max_samples(config.audio)) == (1e-5, 188 * 640)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("image_processor", "resample", 2),
        ("image_processor", "do_normalize", True),
        ("image_processor", "do_resize", False),
        ("video_processor", "image_mean", [0.5, 0.5, 0.5]),
        ("video_processor", "resample", 2),
        ("feature_extractor", "dither", 0.1),
        ("feature_extractor", "preemphasis", 0.97),
        ("feature_extractor", "sampling_rate", 8000),
        ("feature_extractor", "per_bin_mean", [0.0]),
    ],
)
def test_what_is_not_implemented_is_refused(section: str, key: str, value: object) -> None:
    raw = processor_json("google__gemma-4-E2B-it")
    raw[section][key] = value
    with pytest.raises(UnsupportedModelError, match=key):
        ProcessorConfig.from_dict(raw, unified=False)


@pytest.mark.parametrize(
    ("name", "section", "key"),
    [
        ("E2B", "image_processor", "max_soft_tokens"),
        ("E2B", "image_processor", "rescale_factor"),
        ("E2B", "video_processor", "num_frames"),
        ("E2B", "feature_extractor", "mel_floor"),
        ("12B", "feature_extractor", "audio_samples_per_token"),
    ],
)
def test_missing_key_is_named(name: str, section: str, key: str) -> None:
    raw = processor_json(f"google__gemma-4-{name}-it")
    del raw[section][key]
    with pytest.raises(CheckpointError, match=key):
        ProcessorConfig.from_dict(raw, unified=name == "12B")
