// Norms, with what follows them in a layer.
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

/// (x - mean) / deviation * weight + bias over the last axis of x [..., D] (float32), or `least` where
/// that is more. weight and bias are [D]; `bias` may be missing.
mlx::core::array layer_norm(
    const mlx::core::array& x, const mlx::core::array& weight,
    const std::optional<mlx::core::array>& bias, float eps, float least,
    mlx::core::StreamOrDevice stream = {});

}  // namespace g4
