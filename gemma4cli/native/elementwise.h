// Functions of each number of an array.
#pragma once

#include <optional>
#include <vector>

#include "kernels/kernels.h"
#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// curve(x) * factor for x and factor [...] (float32); `factor` may be missing. It has gradients
/// for both.
mlx::core::array activate(
    Curve curve, const mlx::core::array& x, const std::optional<mlx::core::array>& factor,
    mlx::core::StreamOrDevice stream = {});

/// The gradients of x and of the factor, if there is one, for that of `activate`'s result, `dy`.
std::vector<mlx::core::array> activate_back(
    Curve curve, const mlx::core::array& x, const std::optional<mlx::core::array>& factor,
    const mlx::core::array& dy, mlx::core::StreamOrDevice stream = {});

/// The first half of x [..., 2 D] times the sigmoid of the second: [..., D] (float32).
mlx::core::array glu(const mlx::core::array& x, mlx::core::StreamOrDevice stream = {});

/// tanh(x / cap) * cap, and NaN where x [...] (float32) is infinite.
mlx::core::array softcap(
    const mlx::core::array& x, float cap, mlx::core::StreamOrDevice stream = {});

}  // namespace g4
