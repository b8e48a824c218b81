// The audio tower's attention and convolutions.
#pragma once

#include <optional>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// What local attention needs beside the projections; see LocalTile.
struct LocalRule {
  float k_scale, cap;
  int before, after, nearest;
};

/// Attention of queries to the keys around them: q, k and v [B, T, H, d] (float32) to [B, T, H * d].
///
/// `relative` [R, H, d] holds the projected relative positions, `q_scale` [d] the factors of the
/// queries. `lengths` [B] (int32) are the tokens of each row if they differ; later ones are not seen.
mlx::core::array local_attention(
    const mlx::core::array& q, const mlx::core::array& k, const mlx::core::array& v,
    const mlx::core::array& relative, const mlx::core::array& q_scale, const LocalRule& rule,
    const std::optional<mlx::core::array>& lengths, mlx::core::StreamOrDevice stream = {});

/// A convolution of x [B, T, F, C] with weight [N, 3, 3, C], stride 2 and a padding of one:
/// [B, ceil(T / 2), ceil(F / 2), N] (float32). `ends` [B] (int32) are the rows of each clip if they
/// differ; later ones count as zeros.
mlx::core::array convolve(
    const mlx::core::array& x, const mlx::core::array& weight,
    const std::optional<mlx::core::array>& ends, mlx::core::StreamOrDevice stream = {});

/// A convolution of each channel with its own past: x [B, T, C] and weight [C, taps, 1] (float32).
mlx::core::array convolve_past(
    const mlx::core::array& x, const mlx::core::array& weight,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
