// Root-mean-square norms, with the sum and the factor that follow them in a layer.
#pragma once

#include <optional>

#include "kernels/kernels.h"
#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// (residual + x / rms(x) * weight) * scale over the last axis of x [..., D] (float32), which is
/// limited to +-bound before.
///
/// `weight` [D] and `residual` [..., D] may be missing.
mlx::core::array rms_norm(
    const mlx::core::array& x, const std::optional<mlx::core::array>& weight,
    const std::optional<mlx::core::array>& residual, NormRule rule,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
