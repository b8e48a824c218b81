// Matrices of weights, as MLX keeps them and as the kernels take them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "mlx/array.h"

namespace g4 {

/// How a matrix is quantized, in MLX's terms; mode "" is not quantized.
struct Quantization {
  std::string mode;
  int bits = 0;
  int group_size = 0;
};

/// Weights [N, K], or [..., N, K] for several matrices, with the arrays of their quantization.
struct Matrix {
  mlx::core::array weight;
  std::optional<mlx::core::array> scales;
  std::optional<mlx::core::array> biases;
  Quantization quantization;

  int64_t columns() const;

  /// Throws std::invalid_argument, beginning with `function`, unless the arrays' shapes and types fit
  /// each other, there are `axes` axes, and the kernels know the quantization.
  void check(const char* function, size_t axes) const;

  /// Add the arrays, without gaps between rows, to a primitive's inputs.
  void append_to(std::vector<mlx::core::array>& inputs, mlx::core::Stream stream) const;
};

/// The arrays of a matrix of which the first is inputs[index].
Matrix matrix_at(
    const std::vector<mlx::core::array>& inputs, size_t index, const Quantization& quantization);

/// How many arrays it has.
size_t arrays_of(const Quantization& quantization);

/// The matrix whose arrays begin at inputs[index], which moves past them. Of several matrices, the
/// first. The arrays must outlive it.
Weight take_weight(
    const std::vector<mlx::core::array>& inputs, size_t& index, const Quantization& quantization);

/// The matrix `number` matrices of the same shape after this one.
Weight matrix_after(const Weight& weight, int64_t number);

}  // namespace g4
