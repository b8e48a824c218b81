// Products with matrices of weights.
#pragma once

#include <optional>
#include <vector>

#include "adapter.h"
#include "matrix.h"
#include "mlx/utils.h"

namespace g4 {

/// What a linear layer does besides multiplying.
struct LinearOptions {
  /// Limits [4] in float32: the least and the greatest input, then output. What is no number stays so.
  std::optional<mlx::core::array> clip;

  /// What changes the products before the outputs are limited. With limits, it may be a bias only.
  Adapters adapters;
};

/// x [..., K] (float32) times the transposed matrix [N, K]: [..., N] in float32.
///
/// It has gradients for x, and for a matrix of float32; none if there are limits or an adapter. An infinite input
/// can give NaN. Throws std::invalid_argument if shapes or types do not fit.
mlx::core::array linear(
    const mlx::core::array& x, const Matrix& matrix, const LinearOptions& options = {},
    mlx::core::StreamOrDevice stream = {});

/// x [..., N] (float32) times the matrix [N, K] as it is: [..., K] in float32.
///
/// Throws std::invalid_argument if shapes or types do not fit.
mlx::core::array linear_by_columns(
    const mlx::core::array& x, const Matrix& matrix, mlx::core::StreamOrDevice stream = {});

}  // namespace g4
