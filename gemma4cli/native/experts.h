// Products with matrices that are chosen for each row of input: mixtures of experts.
#pragma once

#include "matrix.h"
#include "mlx/utils.h"

namespace g4 {

/// Rows of input times the transposed matrices, of several [experts, N, K], that `indices` [..., E]
/// (int32 or uint32) name: [..., E, N] in float32.
///
/// `x` (float32) is [..., K], a row for all its experts, or [..., E, K], one for each. Each matrix is
/// read once. Numbers are NaN where an index names no matrix. Throws std::invalid_argument if shapes
/// or types do not fit.
mlx::core::array expert_linear(
    const mlx::core::array& x, const mlx::core::array& indices, const Matrix& experts,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
