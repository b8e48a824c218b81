// What an adapter adds to products with a matrix, as arrays and as the kernels take it.
#pragma once

#include <optional>
#include <vector>

#include "kernels/kernels.h"
#include "matrix.h"
#include "mlx/array.h"

namespace g4 {

/// What an adapter does, as the kernels take it: h = scale * a x, and how h is added.
struct LowRank {
  Weight a{};  // [rank, K]; without rows there is no h
  float scale = 1;
  Addition addition;

  bool changes() const { return a.rows > 0 || addition.share || addition.bias; }
  bool is_bias() const { return a.rows == 0 && !addition.share; }
};

/// A matrix, and what an adapter does to products with it.
struct Adapted {
  Weight weight;
  LowRank adapter;
};

/// Which arrays of an adapter there are among a primitive's inputs.
struct AdapterForm {
  bool low_rank = false, share = false, bias = false;
  float scale = 1;
};

/// (x times the transposed matrix [N, K] + b (scale * a x)) * share + bias.
struct Adapter {
  std::optional<mlx::core::array> a;  // [r, K] in any type of floating-point numbers, with b
  std::optional<mlx::core::array> b;  // [N, r]
  float scale = 1;
  std::optional<mlx::core::array> share;  // [N], in any type
  std::optional<mlx::core::array> bias;   // [N]

  AdapterForm form() const;

  /// Throws std::invalid_argument, beginning with `function`, unless the arrays fit the matrix.
  void check(const char* function, const Matrix& matrix) const;

  /// Add the arrays, without gaps between rows, to a primitive's inputs.
  void append_to(std::vector<mlx::core::array>& inputs, mlx::core::Stream stream) const;
};

/// `take_weight`, and then `take_adapter`.
Adapted take_adapted(
    const std::vector<mlx::core::array>& inputs, size_t& index, const Quantization& quantization,
    const AdapterForm& form);

/// The adapter whose arrays begin at inputs[index], which moves past them. They must outlive it.
LowRank take_adapter(
    const std::vector<mlx::core::array>& inputs, size_t& index, const AdapterForm& form);

}  // namespace g4
