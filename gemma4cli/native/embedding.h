// Rows of a table that numbers name.
#pragma once

#include "matrix.h"
#include "mlx/utils.h"

namespace g4 {

/// Rows `ids` [...] (int32 or uint32) of the table [N, K] times `scale`: [..., K] in float32.
///
/// A row that the table lacks is NaN: ids are only known when the result is computed. Throws
/// std::invalid_argument if shapes or types do not fit.
mlx::core::array embedding(
    const mlx::core::array& ids, const Matrix& table, float scale,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
