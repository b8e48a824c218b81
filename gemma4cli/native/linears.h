// Products of one input with several matrices, in one go.
#pragma once

#include <vector>

#include "adapter.h"
#include "matrix.h"
#include "mlx/utils.h"

namespace g4 {

/// A matrix, and what adapters do to products with it.
struct Layer {
  Matrix matrix;
  Adapters adapters;
};

/// x [..., K] (float32) times each of the transposed matrices [N, K]: arrays [..., N] in float32.
///
/// Throws std::invalid_argument if shapes or types do not fit.
std::vector<mlx::core::array> linears(
    const mlx::core::array& x, const std::vector<Layer>& layers,
    mlx::core::StreamOrDevice stream = {});

/// curve(x times gate) * (x times up) for matrices [N, K] of the same shape: [..., N] in float32.
///
/// Throws std::invalid_argument if shapes or types do not fit.
mlx::core::array gated(
    const mlx::core::array& x, const Layer& gate, const Layer& up, Curve curve,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
