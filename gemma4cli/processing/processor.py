"""Messages and decoded media to model inputs, for one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..decoded import SAMPLE_RATE, AudioClip, Decoded, Image, VideoClip
from ..errors import MediaDecodeError, UnsupportedModalityError
from ..messages import AudioPart, ImagePart, Message, VideoPart
from .audio import audio_features, max_samples
from .config import MelConfig, ProcessorConfig
from .image import fit, image_features, patch_features
from .inputs import AudioFeatures, ImageFeatures, MediaFeatures, ModelInputs
from .pieces import MediaKind
from .prompt import (
    AudioSlot,
    ImageSlot,
    PromptFlavour,
    Slot,
    VideoSlot,
    build_prompt,
    check_placeholders,
    media_parts,
)
from .tokenizer import Tokenizer

MediaPart = ImagePart | AudioPart | VideoPart
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """How one checkpoint takes its input. ``model`` is its name in errors."""

    model: str
    tokenizer: Tokenizer
    flavour: PromptFlavour
    config: ProcessorConfig
    unified: bool
    sees: bool
    hears: bool

    @property
    def longest_clip(self) -> float | None:
        """Seconds of one audio clip that the model hears; None where nothing bounds them."""
        audio = self.config.audio
        if not isinstance(audio, MelConfig):
            return None
        return max_samples(audio) / SAMPLE_RATE

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
        """A video frame at the size that ``prepare`` takes: small, so that a clip fits memory."""
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

        Images may have any size; the frames of videos come through ``fit_frame``.

        Raises PromptError where the conversation does not suit the model, MediaDecodeError for a
        clip that is too short to be heard.
        """
        for part in media_parts(messages):
            self.check_modality(part)
        vision = self.config.vision
        features: list[MediaFeatures] = []
        slots: list[Slot] = []
        notices: list[str] = []
        for item in media:
            if isinstance(item, Image):
                image = self._image(item.pixels, budget or vision.image_budget)
                slots.append(ImageSlot(soft_tokens=image.soft_tokens))
                features.append(image)
            elif isinstance(item, AudioClip):
                audio = self._audio(item, notices)
                slots.append(AudioSlot(soft_tokens=audio.soft_tokens))
                features.append(audio)
            else:
                slot, frames = self._video(item)
                slots.append(slot)
                features += frames
        prompt = build_prompt(
            messages,
            slots,
            tokenizer=self.tokenizer,
            flavour=self.flavour,
            think=think,
            tools=tools,
        )
        counts: dict[MediaKind, list[int]] = {}
        for span, feature in zip(prompt.spans, features, strict=True):
            counts.setdefault(span.kind, []).append(feature.soft_tokens)
        check_placeholders(prompt, counts)
        return ModelInputs(
            ids=prompt.ids,
            spans=prompt.spans,
            features=tuple(features),
            text=prompt.text,
            notices=tuple(notices),
        )

    def _image(self, pixels: Pixels, budget: int) -> ImageFeatures:
        return image_features(pixels, budget, self.config.vision, unified=self.unified)

    def _video(self, clip: VideoClip) -> tuple[VideoSlot, list[ImageFeatures]]:
        frames = [
            patch_features(frame.pixels, self.config.vision, unified=self.unified)
            for frame in clip.frames
        ]
        times = (frame.seconds for frame in clip.frames)
        labels = tuple(
            (seconds, image.soft_tokens) for seconds, image in zip(times, frames, strict=True)
        )
        return VideoSlot(frames=labels), frames

    def _audio(self, clip: AudioClip, notices: list[str]) -> AudioFeatures:
        features = audio_features(clip.samples, self.config.audio)
        if features.soft_tokens == 0:
            raise MediaDecodeError(clip.name, f"{clip.seconds * 1000:.0f} ms are too short to hear")
        if features.heard_seconds < clip.seconds:
            notices.append(
                f"{clip.name}: only the first {features.heard_seconds:.0f} s of "
                f"{clip.seconds:.1f} s are heard; this model takes no more in one clip"
            )
        return features
