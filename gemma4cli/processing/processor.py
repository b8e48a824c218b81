"""Messages and decoded media to the inputs of one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..decoded import SAMPLE_RATE, AudioClip, Decoded, Image, VideoClip
from ..errors import MediaDecodeError, UnsupportedModalityError
from ..messages import AudioPart, ImagePart, MediaKind, MediaPart, Message
from .audio import audio_features, max_samples, mel_token_count, raw_token_count
from .config import MelConfig, ProcessorConfig
from .image import fit, image_features, patch_features
from .inputs import MediaFeatures, ModelInputs
from .prompt import (
    AudioSlot,
    ImageSlot,
    PromptStyle,
    Slot,
    VideoSlot,
    build_prompt,
    check_placeholders,
    media_parts,
)
from .text_encoder import TextEncoder

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedMedium:
    """One media item: its slot in the prompt and its features, for a video those of each frame.

    ``budget`` is set for images only.
    """

    slot: Slot
    features: tuple[MediaFeatures, ...]
    budget: int | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """Prepares the input of one checkpoint. ``model`` is the name in error messages."""

    model: str
    tokenizer: TextEncoder
    prompt_style: PromptStyle
    config: ProcessorConfig
    unified: bool
    sees: bool
    hears: bool

    @property
    def longest_clip(self) -> float | None:
        """The longest audio clip that the model takes, in seconds; None if there is no limit."""
        audio = self.config.audio
        if not isinstance(audio, MelConfig):
            return None
        return max_samples(audio) / SAMPLE_RATE

    def sound_tokens(self, seconds: float) -> int:
        """The soft tokens of a clip of sound of that length."""
        samples = round(seconds * SAMPLE_RATE)
        if isinstance(self.config.audio, MelConfig):
            return mel_token_count(samples, self.config.audio)
        return raw_token_count(samples, self.config.audio)

    def check_modality(self, part: MediaPart) -> None:
        """Raise UnsupportedModalityError if the checkpoint cannot take this part."""
        if isinstance(part, AudioPart):
            if not self.hears:
                lack = "this checkpoint has no audio input"
                raise UnsupportedModalityError("audio", self.model, lack)
        elif not self.sees:
            kind = "images" if isinstance(part, ImagePart) else "video"
            lack = "this checkpoint has no vision input"
            raise UnsupportedModalityError(kind, self.model, lack)

    def fit_frame(self, pixels: Pixels, budget: int | None = None) -> Pixels:
        """A video frame at the size that ``prepare`` takes, so that whole clips fit in memory."""
        return fit(pixels, budget or self.config.vision.video_budget, self.config.vision)

    def prepare(
        self,
        messages: Sequence[Message],
        media: Sequence[Decoded],
        *,
        budget: int | None = None,
        think: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> ModelInputs:
        """Model inputs of a conversation; ``media`` holds one item per media part, in order.

        Images may have any size; video frames must have been resized by ``fit_frame``.

        Raises PromptError if the model cannot take the conversation, MediaDecodeError for an audio
        clip that is too short for one soft token.
        """
        for part in media_parts(messages):
            self.check_modality(part)
        prepared = [self.prepare_medium(item, budget) for item in media]
        return self.prepare_prompt(messages, prepared, think=think, tools=tools)

    def prepare_medium(self, item: Decoded, budget: int | None = None) -> PreparedMedium:
        """``prepare`` for one item; it does not depend on the rest of the conversation."""
        if isinstance(item, Image):
            return self._image(item.pixels, budget or self.config.vision.image_budget)
        return self._audio(item) if isinstance(item, AudioClip) else self._video(item)

    def prepare_prompt(
        self,
        messages: Sequence[Message],
        media: Sequence[PreparedMedium],
        *,
        think: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> ModelInputs:
        """``prepare`` for media that are prepared already and passed ``check_modality``."""
        prompt = build_prompt(
            messages,
            [item.slot for item in media],
            tokenizer=self.tokenizer,
            style=self.prompt_style,
            think=think,
            tools=tools,
        )
        features = [feature for item in media for feature in item.features]
        counts: dict[MediaKind, list[int]] = {}
        for span, feature in zip(prompt.spans, features, strict=True):
            counts.setdefault(span.kind, []).append(feature.soft_tokens)
        check_placeholders(prompt, counts)
        return ModelInputs(
            ids=prompt.ids,
            spans=prompt.spans,
            features=tuple(features),
            text=prompt.text,
            budgets=tuple(item.budget for item in media if item.budget is not None),
            notices=tuple(notice for item in media for notice in item.notices),
        )

    def _image(self, pixels: Pixels, budget: int) -> PreparedMedium:
        image = image_features(pixels, budget, self.config.vision, unified=self.unified)
        slot = ImageSlot(soft_tokens=image.soft_tokens)
        return PreparedMedium(slot=slot, features=(image,), budget=budget)

    def _video(self, clip: VideoClip) -> PreparedMedium:
        frames = tuple(
            patch_features(frame.pixels, self.config.vision, unified=self.unified)
            for frame in clip.frames
        )
        times = (frame.seconds for frame in clip.frames)
        labels = tuple(
            (seconds, image.soft_tokens) for seconds, image in zip(times, frames, strict=True)
        )
        return PreparedMedium(slot=VideoSlot(frames=labels), features=frames)

    def _audio(self, clip: AudioClip) -> PreparedMedium:
        features = audio_features(clip.samples, self.config.audio)
        if features.soft_tokens == 0:
            raise MediaDecodeError(
                clip.name, f"{clip.seconds * 1000:.0f} ms of sound are too short"
            )
        notices: tuple[str, ...] = ()
        if features.heard_seconds < clip.seconds:
            notices = (
                f"{clip.name}: only the first {features.heard_seconds:.0f} s of "
                f"{clip.seconds:.1f} s are used: this model takes no more in one clip",
            )
        slot = AudioSlot(soft_tokens=features.soft_tokens)
        return PreparedMedium(slot=slot, features=(features,), notices=notices)
