// Products with matrices of weights.
#pragma once

#include <optional>
#include <string>

#include "kernels/kernels.h"
#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// How a matrix is quantized, in MLX's terms; mode "" is not quantized.
struct Quantization {
  std::string mode;
  int bits = 0;
  int group_size = 0;
};

/// x [..., K] (float32) times the transposed matrix [N, K]: [..., N] in float32.
///
/// `scales` and `biases` are those of `quantization`. Throws std::invalid_argument if shapes or types
/// do not fit.
mlx::core::array linear(
    const mlx::core::array& x, const mlx::core::array& weight,
    const std::optional<mlx::core::array>& scales, const std::optional<mlx::core::array>& biases,
    const Quantization& quantization, mlx::core::StreamOrDevice stream = {});

/// A matrix as the kernels take it; the arrays must outlive it and be contiguous.
Weight weight_of(
    const mlx::core::array& weight, const mlx::core::array* scales, const mlx::core::array* biases,
    const Quantization& quantization);

}  // namespace g4
