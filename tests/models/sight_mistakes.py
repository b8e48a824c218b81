"""Mistakes on the way from pixels to soft tokens."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from mistakes import Patch, configure, mistake, unclip, wrap
from PIL import Image as PillowImage

from gemma4cli.models import layers, unified_vision, vision_tower
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.processing import image


@mistake("e2b", "image_70")
def pixels_stay_between_zero_and_one(patch: Patch, network: Gemma4) -> None:
    wrap(
        patch,
        vision_tower.VisionTower,
        "__call__",
        lambda call, self, patches, grid: call(self, patches / 2 + 0.5, grid),
    )


def reorder(patch: Patch, change: Callable[[mx.array], mx.array]) -> None:
    wrap(
        patch,
        Gemma4,
        "encode_images",
        lambda call, self, patches, grid: call(self, change(patches), grid),
    )


def channels_first(patches: mx.array) -> mx.array:
    pixels = patches.reshape(*patches.shape[:2], -1, 3)
    return pixels.swapaxes(-1, -2).reshape(patches.shape)


@mistake("e2b", "image_70")
def channels_come_first_in_a_patch(patch: Patch, network: Gemma4) -> None:
    reorder(patch, channels_first)


@mistake("12b", "image_70")
def channels_come_first_in_a_patch_of_the_12b(patch: Patch, network: Gemma4) -> None:
    reorder(patch, channels_first)


@mistake("12b", "image_70")
def patches_of_the_12b_are_made_of_small_ones(patch: Patch, network: Gemma4) -> None:
    def change(patches: mx.array) -> mx.array:
        small = patches.reshape(*patches.shape[:2], 3, 16, 3, 16, 3)
        return small.swapaxes(3, 4).reshape(patches.shape)

    reorder(patch, change)


@mistake("e2b", "image_wide")
def position_rows_are_swapped(patch: Patch, network: Gemma4) -> None:
    wrap(
        patch,
        vision_tower.PatchEmbedder,
        "__call__",
        lambda call, self, patches, xs, ys: call(self, patches, ys, xs),
    )


@mistake("12b", "image_wide")
def position_rows_of_the_12b_are_swapped(patch: Patch, network: Gemma4) -> None:
    embedder = network.vision_embedder
    patch.setitem(embedder, "pos_embedding", embedder.pos_embedding[:, ::-1])


@mistake("31b", "image_wide")
def vision_rope_turns_y_before_x(patch: Patch, network: Gemma4) -> None:
    wrap(
        patch,
        vision_tower,
        "axial_angles",
        lambda angles, xs, ys, *rest: angles(ys, xs, *rest),
    )


@mistake("31b", "image_70")
def vision_rope_has_the_base_of_text(patch: Patch, network: Gemma4) -> None:
    configure(patch, network.vision_tower, rope_theta=10_000.0)


@mistake("31b", "image_70")
def vision_rope_pairs_over_the_whole_head(patch: Patch, network: Gemma4) -> None:
    def rotate_whole(rotate, x, angles):
        moved = x.reshape(*x.shape[:-1], 2, 2, -1).swapaxes(-2, -3).reshape(x.shape)
        out = rotate(moved, angles)
        return out.reshape(*x.shape[:-1], 2, 2, -1).swapaxes(-2, -3).reshape(x.shape)

    wrap(patch, vision_tower, "rotate_axial", rotate_whole)


@mistake("e2b", "image_70")
def vision_values_are_not_normed(patch: Patch, network: Gemma4) -> None:
    patch.setattr(vision_tower, "rms_norm_unscaled", lambda x, eps: x)


@mistake("e2b", "image_70")
def pooled_squares_are_in_column_order(patch: Patch, network: Gemma4) -> None:
    def pool(call, self, hidden, grid):
        out = call(self, hidden, grid)
        side = self.config.pooling
        shaped = out.reshape(len(out), grid[0] // side, grid[1] // side, -1)
        return shaped.swapaxes(1, 2).reshape(out.shape)

    wrap(patch, vision_tower.VisionTower, "_pool", pool)


@mistake("31b", "image_70")
def pooled_values_are_not_scaled(patch: Patch, network: Gemma4) -> None:
    def pool(call, self, hidden, grid):
        return call(self, hidden * self.config.hidden_size**-0.5, grid)

    wrap(patch, vision_tower.VisionTower, "_pool", pool)


@mistake("26b", "image_70")
def pooled_values_are_not_standardized(patch: Patch, network: Gemma4) -> None:
    configure(patch, network.vision_tower, standardize=False)


@mistake("31b", "image_70")
def bias_is_subtracted_after_the_scale(patch: Patch, network: Gemma4) -> None:
    tower = network.vision_tower
    patch.setitem(tower, "std_bias", tower.std_bias / tower.std_scale)


@mistake("e2b", "image_70")
def vision_linears_do_not_clip(patch: Patch, network: Gemma4) -> None:
    unclip(patch, inner=False)


@mistake("e2b", "image_70")
def vision_linears_clip_their_input_only(patch: Patch, network: Gemma4) -> None:
    unclip(patch, inner=True)


@mistake("e2b", "audio")
def audio_linears_do_not_clip(patch: Patch, network: Gemma4) -> None:
    unclip(patch, inner=False)


@mistake("e2b", "audio")
def audio_linears_clip_their_input_only(patch: Patch, network: Gemma4) -> None:
    unclip(patch, inner=True)


@mistake("12b", "image_flat")
def layer_norms_of_the_12b_have_the_epsilon_of_rms_norms(patch: Patch, network: Gemma4) -> None:
    patch.setattr(unified_vision, "EPS", 1e-6)


@mistake("12b", "image_flat")
def pixels_of_the_12b_are_centered(patch: Patch, network: Gemma4) -> None:
    reorder(patch, lambda patches: 2 * patches - 1)


@mistake("e2b", "image_flat")
def soft_tokens_are_not_normed(patch: Patch, network: Gemma4) -> None:
    patch.setattr(layers, "rms_norm_unscaled", lambda x, eps: x)


@mistake("e2b", "image_140")
def sides_are_rounded_to_the_nearest(patch: Patch, network: Gemma4) -> None:
    patch.setattr(image.math, "floor", round)


@mistake("31b", "image_70")
def pictures_are_resized_bilinearly(patch: Patch, network: Gemma4) -> None:
    bilinear = PillowImage.Resampling.BILINEAR
    wrap(
        patch,
        PillowImage.Image,
        "resize",
        lambda resize, picture, size, _: resize(picture, size, bilinear),
    )
