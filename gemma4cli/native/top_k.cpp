#include "top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/kernels.h"
#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Numbers between two looks at how many were kept.
constexpr int64_t chunk = 1 << 11;

/// Whether the number at `a` comes before that at `b`.
struct Before {
  const float* x;

  bool operator()(int32_t a, int32_t b) const {
    if (x[a] > x[b]) return true;
    if (x[a] < x[b]) return false;
    const bool a_nan = std::isnan(x[a]), b_nan = std::isnan(x[b]);
    return a_nan == b_nan ? a < b : b_nan;
  }
};

/// Leave the first `k` of these places, in any order.
void cut(std::vector<int32_t>& places, int64_t k, const Before& before) {
  if (int64_t(places.size()) <= k) return;
  std::nth_element(places.begin(), places.begin() + k, places.end(), before);
  places.resize(size_t(k));
}

/// Places of the `k` largest numbers among x[first ... last), in any order.
std::vector<int32_t> largest_places(const float* x, int64_t first, int64_t last, int64_t k) {
  const auto& set = kernels();
  const Before before{x};
  // Cut back when twice as many as needed were kept, so that the cutting costs little on average.
  const size_t most = size_t(std::max(2 * k, chunk));
  std::vector<int32_t> kept;
  kept.reserve(most + size_t(chunk));
  float limit = std::numeric_limits<float>::quiet_NaN();  // all numbers are above it
  for (int64_t at = first; at < last; at += chunk) {
    const size_t before_chunk = kept.size();
    kept.resize(before_chunk + size_t(chunk));
    int32_t* places = kept.data() + before_chunk;
    const int64_t found = set.select_above(x + at, std::min(chunk, last - at), limit, places);
    for (int64_t i = 0; i < found; i++) places[i] += int32_t(at);
    kept.resize(before_chunk + size_t(found));
    if (kept.size() < most) continue;
    cut(kept, k, before);
    limit = x[*std::max_element(kept.begin(), kept.end(), before)];
  }
  cut(kept, k, before);
  return kept;
}

void largest(const float* x, int64_t size, int64_t k, float* values, uint32_t* indices) {
  const int64_t threads = ThreadPool::shared().size();
  const int64_t step = std::max(numbers_per_part, ceil_div(size, threads));
  std::vector<std::vector<int32_t>> found(size_t(ceil_div(size, step)));
  parallel_ranges(size, step, [&](int64_t first, int64_t last) {
    found[size_t(first / step)] = largest_places(x, first, last, k);
  });
  std::vector<int32_t> all;
  for (const auto& places : found) all.insert(all.end(), places.begin(), places.end());
  const Before before{x};
  cut(all, k, before);
  std::sort(all.begin(), all.end(), before);
  for (int64_t i = 0; i < k; i++) {
    values[i] = x[all[size_t(i)]];
    indices[i] = uint32_t(all[size_t(i)]);
  }
}

class TopK : public RowPrimitive {
 public:
  TopK(mx::Stream stream, int k) : RowPrimitive(stream), k_(k) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (auto& out : outputs) allocate(out);
    const float* x = inputs[0].data<float>();
    float* values = outputs[0].data<float>();
    uint32_t* indices = outputs[1].data<uint32_t>();
    const int64_t size = inputs[0].shape(-1);
    const int64_t rows = k_ ? row_count(inputs[0]) : 0;
    return [=, k = int64_t(k_)] {
      for (int64_t i = 0; i < rows; i++) {
        largest(x + i * size, size, k, values + i * k, indices + i * k);
      }
    };
  }
  const char* name() const override { return "G4TopK"; }

 private:
  int k_;
};

}  // namespace

std::pair<mx::array, mx::array> top_k(const mx::array& x, int k, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "top_k");
  if (k < 0 || k > x.shape(-1)) {
    throw std::invalid_argument("top_k: k must be between 0 and the size of a row");
  }
  mx::Shape shape = x.shape();
  shape.back() = k;
  auto results = mx::array::make_arrays(
      {shape, shape}, {mx::float32, mx::uint32}, std::make_shared<TopK>(stream, k),
      {in_rows(x, stream)});
  return {results[0], results[1]};
}

}  // namespace g4
