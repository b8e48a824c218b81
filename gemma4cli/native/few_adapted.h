// Products of few rows of input with several matrices, which adapters may change.
#pragma once

#include <memory>
#include <vector>

#include "adapter.h"
#include "few_products.h"
#include "thin_products.h"

namespace g4 {

class FewAdapted {
 public:
  /// `x` holds `count` rows, without gaps between them.
  FewAdapted(const float* x, int64_t count);

  /// Adds a product; `matrix` must outlive it.
  void add(const Adapted& matrix, float* y);

  /// Compute the products that were added; waits for the end.
  void compute() { multiply(products_, thin_); }

  /// For those who divide the work in another way: all parts of `thin` come first.
  const std::vector<Product>& products() const { return products_; }
  ThinProducts& thin() { return thin_; }

 private:
  struct Layout {
    std::vector<int64_t> rows;
    std::unique_ptr<PreparedInput> input;
  };

  /// Some rows of the input, laid out once for all matrices that need the same layout.
  const Input& input_for(const Weight& weight, const std::vector<int64_t>& rows);

  const float* x_;
  std::vector<int64_t> all_;  // the numbers of the rows
  std::vector<Layout> layouts_;
  ThinProducts thin_;
  std::vector<Product> products_;
};

}  // namespace g4
