// Products with matrices of weights.
#pragma once

#include <vector>

#include "matrix.h"
#include "mlx/utils.h"

namespace g4 {

/// x [..., K] (float32) times the transposed matrix [N, K]: [..., N] in float32.
///
/// Throws std::invalid_argument if shapes or types do not fit.
mlx::core::array linear(
    const mlx::core::array& x, const Matrix& matrix, mlx::core::StreamOrDevice stream = {});

}  // namespace g4
