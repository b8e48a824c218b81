#include "thin_products.h"

#include <algorithm>

namespace g4 {
namespace {

/// Rows of a that a thread takes at a time: pairs are read together.
constexpr int64_t rows_of_part = 4;

}  // namespace

const float* ThinProducts::add(const LowRank& low_rank, const Input& x) {
  const int64_t rank = low_rank.a.rows, count = x.count;
  std::unique_ptr<float[]> memory(new float[size_t(count * rank)]);
  auto h = rows_of(memory.get(), count, rank);
  for (int64_t first = 0; first < rank; first += rows_of_part) {
    parts_.push_back({all_.size(), first, std::min(first + rows_of_part, rank)});
  }
  bytes_ += bytes_of(low_rank.a) + bytes_of(low_rank.addition.b);
  left_ = int32_t(parts_.size());
  all_.push_back({low_rank.a, low_rank.scale, x, std::move(memory), std::move(h)});
  return all_.back().memory.get();
}

void ThinProducts::compute(int64_t number) {
  const auto& [thin, first, last] = parts_[size_t(number)];
  const auto& [a, scale, x, memory, h] = all_[thin];
  multiply_part(a, x, h.data(), first, last);
  for (float* row : h) {
    for (int64_t j = first; j < last; j++) row[j] *= scale;
  }
  if (--left_ == 0) left_.notify_all();
}

void ThinProducts::wait() const {
  for (int32_t left = left_; left != 0; left = left_) left_.wait(left);
}

}  // namespace g4
