#pragma once

#include <vector>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// The parts of `x` [B, L, N, D] (float32) as N arrays [B, L, D].
std::vector<mlx::core::array> unstack(
    const mlx::core::array& x, mlx::core::StreamOrDevice device = {});

}  // namespace g4
