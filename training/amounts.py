"""How much the stages make, and how long they practise."""

from __future__ import annotations

from dataclasses import dataclass

CLIPS_PER_SHARD = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """Clips, pictures and voices in numbers, training in steps of a CPU."""

    clips: int
    asked: int
    unbroken: int
    audio_tower: int
    vision_tower: int
    pictures: int
    stills: int
    language: int
    voices: int
    twin: int

    def times(self, factor: float) -> Amounts:
        """So many times as much of everything, clips in whole shards."""

        def much(count: int) -> int:
            return max(1, round(count * factor))

        def shards(clips: int) -> int:
            return CLIPS_PER_SHARD * max(1, round(clips * factor / CLIPS_PER_SHARD))

        return Amounts(
            clips=shards(self.clips),
            asked=shards(self.asked),
            unbroken=shards(self.unbroken),
            audio_tower=much(self.audio_tower),
            vision_tower=much(self.vision_tower),
            pictures=much(self.pictures),
            stills=much(self.stills),
            language=much(self.language),
            voices=much(self.voices),
            twin=much(self.twin),
        )


RECIPE = Amounts(
    clips=24_000,
    asked=2_500,
    unbroken=4_000,
    audio_tower=3_000,
    vision_tower=4_500,
    pictures=8_000,
    stills=2_000,
    language=3_500,
    voices=400,
    twin=2_500,
)
"""What two cores do in three to four hours."""

TRIAL = Amounts(
    clips=CLIPS_PER_SHARD,
    asked=CLIPS_PER_SHARD,
    unbroken=CLIPS_PER_SHARD,
    audio_tower=4,
    vision_tower=4,
    pictures=200,
    stills=200,
    language=4,
    voices=20,
    twin=4,
)
"""So little that every stage is over in a minute or two."""
