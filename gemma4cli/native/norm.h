// Root-mean-square norms, with the sum and the factor that follow them in a layer.
#pragma once

#include <optional>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// (residual + x / rms(x) * weight) * scale over the last axis of x [..., D] (float32).
///
/// `weight` [D] and `residual` [..., D] may be missing.
mlx::core::array rms_norm(
    const mlx::core::array& x, const std::optional<mlx::core::array>& weight, float eps,
    const std::optional<mlx::core::array>& residual, float scale,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
