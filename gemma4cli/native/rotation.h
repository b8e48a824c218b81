// Heads of queries, keys and values from a projection's columns: norm, rotation, heads first.
#pragma once

#include <optional>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// x [B, L, H, D] (float32, any strides but of the last axis) to [B, H, L, D].
///
/// With `eps`, each head is divided by its root mean square and multiplied by weight [D]. With
/// `cos_sin` [B or 1, L, parts, 2, D / (2 * parts)], each of a head's parts is rotated as MLX's rope
/// does without `traditional`: number i with number i + half.
mlx::core::array rotate(
    const mlx::core::array& x, const std::optional<mlx::core::array>& weight,
    std::optional<float> eps, const std::optional<mlx::core::array>& cos_sin,
    mlx::core::StreamOrDevice stream = {});

/// Cosines and sines [B, L, 1, 2, F] of position / frequencies [F], for `length` positions from
/// offsets [B] (int32) on. An infinite frequency turns nothing.
mlx::core::array rope_table(
    const mlx::core::array& offsets, int length, const mlx::core::array& frequencies,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
