// Products with few rows of input: layout of the input and division of the work among threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/kernels.h"

namespace g4 {

/// Rows of input, laid out for a matrix and those like it.
class PreparedRows {
 public:
  /// `x` are rows of `weight.columns` numbers.
  PreparedRows(const Weight& weight, const std::vector<const float*>& x);

  const std::vector<const float*>& rows() const { return rows_; }

 private:
  struct Free { void operator()(float* memory) const; };

  std::unique_ptr<float[], Free> memory_;
  std::vector<const float*> rows_;
};

/// Rows of input as a kernel takes them: each laid out for itself, or `count` of them together.
struct Input {
  std::vector<const float*> rows;
  const uint8_t* together = nullptr;
  int64_t count = 0;
};

/// Rows of input, laid out in the best way for a matrix and those like it.
class PreparedInput {
 public:
  /// `x` are rows of `weight.columns` numbers.
  PreparedInput(const Weight& weight, const std::vector<const float*>& x);

  const Input& input() const { return input_; }

  /// Whether they are laid out as `weight` needs it.
  bool fit(const Weight& weight) const;

 private:
  struct Free { void operator()(uint8_t* memory) const; };

  Weight like_;
  std::optional<PreparedRows> rows_;
  std::unique_ptr<uint8_t[], Free> together_;
  Input input_;
};

class ThinProducts;

/// What is added to some rows of a product.
struct Added {
  const Addition* addition;
  const float* h;  // of the thin products, for these rows only
  std::vector<float*> y;
};

/// y[i][n] = x[i] times row n of the matrix, and what is added to it.
struct Product {
  Weight weight;
  Input x;
  std::vector<float*> y;
  std::vector<Added> added{};
};

/// The start of each of `count` rows.
std::vector<float*> rows_of(float* y, int64_t count, int64_t width);

/// y[i][n] for first <= n < last, on this thread; without what is added to it.
void multiply_part(
    const Weight& weight, const Input& x, float* const* y, int64_t first, int64_t last);

/// As above, with what is added: waits for the thin products before that.
void multiply_part(const Product& product, const ThinProducts& thin, int64_t first, int64_t last);

/// Compute the thin products, whose rows `products` may name, and all of these; waits for the end.
void multiply(const std::vector<Product>& products, ThinProducts& thin);
void multiply(const std::vector<Product>& products);

/// Rows of weights that a thread takes at a time, where `bytes` are to be read in all.
int64_t rows_per_part(const Weight& weight, int64_t bytes);

/// Bytes of a matrix with its scales.
int64_t bytes_of(const Weight& weight);

}  // namespace g4
