#include "key_ranges.h"

#include <algorithm>

namespace g4 {

Ranges ranges_of(const Rule& rule, int64_t batch, int64_t length, int64_t keys) {
  Ranges ranges;
  if (!rule.causal && rule.window == 0 && !rule.padding) return ranges;
  const int64_t before = keys - length;
  std::vector<int32_t> low(length), high(length);
  for (int64_t first = 0, end = 0; first < length; first = end) {
    const bool block = rule.blocks && rule.blocks[first] >= 0;
    for (end = first + 1; block && end < length && rule.blocks[end] == rule.blocks[first];) end++;
    for (int64_t i = first; i < end; i++) {
      const int64_t position = before + i;
      int64_t from = rule.window ? std::max<int64_t>(0, position - rule.window + 1) : 0;
      if (block && rule.blocks_beyond_window) from = std::min(from, before + first);
      low[i] = int32_t(from);
      high[i] = int32_t(!rule.causal ? keys : block ? before + end : position + 1);
    }
  }
  for (int64_t b = 0; b < batch; b++) {
    ranges.low.insert(ranges.low.end(), low.begin(), low.end());
    ranges.high.insert(ranges.high.end(), high.begin(), high.end());
    if (!rule.padding) continue;
    for (int64_t i = 0; i < length; i++) {
      const int64_t position = before + i, at = b * length + i;
      const bool empty = position < rule.padding[b];
      ranges.low[at] = empty ? int32_t(position) : std::max(ranges.low[at], rule.padding[b]);
      if (empty) ranges.high[at] = int32_t(position + 1);
    }
  }
  return ranges;
}

}  // namespace g4
