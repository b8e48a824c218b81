// The largest numbers of a row.
#pragma once

#include <utility>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// The `k` largest numbers of each row of `x` [..., V] (float32), largest first, and their places:
/// [..., k] in float32 and uint32.
///
/// Of equal numbers the first come first; NaN comes after all others. Throws std::invalid_argument if
/// `k` is not in 0 ... V.
std::pair<mlx::core::array, mlx::core::array> top_k(
    const mlx::core::array& x, int k, mlx::core::StreamOrDevice stream = {});

}  // namespace g4
