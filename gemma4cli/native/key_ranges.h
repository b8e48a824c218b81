// Which keys each query of attention sees.
#pragma once

#include <cstdint>
#include <vector>

namespace g4 {

/// The keys [low, high) that each query sees.
struct Ranges {
  std::vector<int32_t> low, high;  // [B * L]

  const int32_t* low_of(int64_t row) const { return low.empty() ? nullptr : low.data() + row; }
  const int32_t* high_of(int64_t row) const { return high.empty() ? nullptr : high.data() + row; }
};

/// What `ranges_of` reads; null for what there is not.
struct Rule {
  bool causal;
  int64_t window;
  bool blocks_beyond_window;
  const int32_t *blocks, *padding;
};

/// Of `length` queries of each of `batch` rows, the last of which is at the last of `keys`. Empty if
/// each sees all.
Ranges ranges_of(const Rule& rule, int64_t batch, int64_t length, int64_t keys);

}  // namespace g4
