// The thin products of adapters, as the first parts of the work that needs them.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "adapter.h"
#include "few_products.h"

namespace g4 {

/// h = scale * a x for some rows of input and several adapters.
///
/// Threads take the parts of a piece of work in order. With these parts as the first of it, no thread
/// waits for another before it has multiplied its first rows of weights.
class ThinProducts {
 public:
  /// Rows of h, one for each of x without gaps; computed by the parts.
  const float* add(const LowRank& low_rank, const Input& x);

  int64_t parts() const { return int64_t(parts_.size()); }

  /// Bytes that they read.
  int64_t bytes() const { return bytes_; }

  void compute(int64_t part);

  /// Returns when all parts are computed. They must have been taken by threads, or be done.
  void wait() const;

 private:
  struct Thin {
    Weight a;
    float scale;
    Input x;
    std::unique_ptr<float[]> memory;
    std::vector<float*> h;
  };
  struct Part {
    size_t thin;
    int64_t first, last;
  };

  std::vector<Thin> all_;
  std::vector<Part> parts_;
  int64_t bytes_ = 0;
  std::atomic<int32_t> left_{0};
};

}  // namespace g4
