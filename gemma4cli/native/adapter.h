// What an adapter adds to products with a matrix, as arrays and as the kernels take it.
#pragma once

#include <optional>
#include <vector>

#include "few_products.h"
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

/// A matrix, and what adapters do to products with it: the first to all rows, or to each its own.
struct Adapted {
  Weight weight;
  std::vector<LowRank> adapters;
  const int32_t* chosen = nullptr;  // which adapter rows have
  int64_t chosen_count = 0;         // as many, each for the same number of rows

  /// The numbers of the rows, of `count`, that each adapter changes, in order.
  std::vector<std::vector<int64_t>> changed(int64_t count) const;
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

/// Which arrays of adapters there are among a primitive's inputs.
struct AdaptersForm {
  std::vector<AdapterForm> each;
  bool chosen = false;

  bool is_bias() const;
};

/// One adapter for all rows, or several of which rows have one each.
struct Adapters {
  std::vector<Adapter> each{Adapter{}};
  std::optional<mlx::core::array> chosen;  // [B] in int32: the adapter of the rows that follow each other

  AdaptersForm form() const;

  /// Throws std::invalid_argument, beginning with `function`, unless the arrays fit the matrix and x.
  void check(const char* function, const Matrix& matrix, const mlx::core::array& x) const;

  /// Add the arrays, without gaps between rows, to a primitive's inputs.
  void append_to(std::vector<mlx::core::array>& inputs, mlx::core::Stream stream) const;
};

/// The matrix and the adapters whose arrays begin at inputs[index], which moves past them. They must
/// outlive it; which adapter rows have is read when products are computed.
Adapted take_adapted(
    const std::vector<mlx::core::array>& inputs, size_t& index, const Quantization& quantization,
    const AdaptersForm& form);

}  // namespace g4
