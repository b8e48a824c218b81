// Attention of tiles, whole and in parts of the keys that are merged.
#include <algorithm>
#include <limits>
#include <memory>

#include "checks.h"
#include "tests.h"

namespace g4::test {
namespace {

/// Queries [tokens, group, width] and keys and values [keys, width], each row followed by others.
struct Case {
  Case(int64_t tokens, int64_t group, int64_t keys, int64_t width, bool ranges, bool masked);

  bool sees(int64_t token, int64_t key) const {
    return (!ranges || (low[token] <= key && key < high[token])) &&
        (!masked || mask[token * keys + key]);
  }
  int64_t rows() const { return tokens * group; }
  AttentionTile tile(float* out) const;
  Exact exact() const;

  int64_t tokens, group, keys, width;
  bool ranges, masked;
  Guarded<float> q, k, v;
  Guarded<int32_t> low, high;
  Guarded<bool> mask;
};

constexpr float scale = 0.3f;
constexpr int64_t gap = 3;  // numbers between rows of keys and values

Case::Case(
    int64_t tokens, int64_t group, int64_t keys, int64_t width, bool ranges, bool masked)
    : tokens(tokens), group(group), keys(keys), width(width), ranges(ranges), masked(masked),
      q(tokens * group * width), k((keys - 1) * (width + gap) + width),
      v((keys - 1) * (width + gap) + width), low(tokens), high(tokens), mask(tokens * keys) {
  fill_normal(q);
  fill_normal(k);
  fill_normal(v);
  for (int64_t i = 0; i < tokens; i++) {
    low[i] = int32_t(below(keys));
    high[i] = int32_t(low[i] + 1 + below(keys - low[i]));
    for (int64_t n = 0; n < keys; n++) mask[i * keys + n] = n == low[i] || below(3) > 0;
  }
}

AttentionTile Case::tile(float* out) const {
  return {
      .q = q.data(),
      .q_token = group * width,
      .q_head = width,
      .k = k.data(),
      .k_key = width + gap,
      .v = v.data(),
      .v_key = width + gap,
      .packed_k = {},
      .packed_v = {},
      .width = width,
      .scale = scale,
      .group = group,
      .row = 0,
      .rows = rows(),
      .first_key = 0,
      .last_key = keys,
      .low = ranges ? low.data() : nullptr,
      .high = ranges ? high.data() : nullptr,
      .mask = masked ? mask.data() : nullptr,
      .mask_token = keys,
      .mask_key = 1,
      .out = out,
      .out_token = group * width,
      .tops = nullptr,
      .totals = nullptr,
  };
}

Exact Case::exact() const {
  Exact result(size_t(rows() * width));
  for (int64_t row = 0; row < rows(); row++) {
    Exact weights(static_cast<size_t>(keys));
    double total = 0;
    for (int64_t n = 0; n < keys; n++) {
      if (!sees(row / group, n)) continue;
      double score = 0;
      for (int64_t d = 0; d < width; d++) {
        score += double(q[row * width + d]) * k[n * (width + gap) + d];
      }
      total += weights[size_t(n)] = std::exp(scale * score);
    }
    for (int64_t n = 0; n < keys; n++) {
      for (int64_t d = 0; d < width; d++) {
        result[size_t(row * width + d)] += weights[size_t(n)] / total * v[n * (width + gap) + d];
      }
    }
  }
  return result;
}

void attend(const Kernels& set, const Case& given) {
  const int64_t rows = given.rows(), width = given.width, count = rows * width;
  const std::string what = "attention of " + std::to_string(given.tokens) + " x " +
      std::to_string(given.group) + " queries to " + std::to_string(given.keys) + " keys of " +
      std::to_string(width);
  Guarded<float> out(count), scratch(attention_scratch(width));
  const Exact exact = given.exact();
  const double allowed = 1e-5 * spread_of(exact.data(), count);
  for (int64_t row = 0; row < rows; row += attention_rows) {
    AttentionTile tile = given.tile(out.data());
    tile.row = row;
    tile.rows = std::min<int64_t>(attention_rows, rows - row);
    set.attention(tile, scratch.data());
  }
  compare(what, out.data(), exact.data(), count, allowed);

  constexpr int64_t splits = 3;
  Guarded<float> tops(splits * rows), totals(splits * rows), parts(splits * count);
  for (int64_t i = 0; i < splits; i++) {
    for (int64_t row = 0; row < rows; row += attention_rows) {
      AttentionTile tile = given.tile(parts.data() + i * count);
      tile.row = row;
      tile.rows = std::min<int64_t>(attention_rows, rows - row);
      tile.first_key = given.keys * i / splits;
      tile.last_key = given.keys * (i + 1) / splits;
      tile.tops = tops.data() + i * rows;
      tile.totals = totals.data() + i * rows;
      set.attention(tile, scratch.data());
    }
  }
  fill_untouched(out);
  for (int64_t row = 0; row < rows; row++) {
    set.merge(
        tops.data() + row, totals.data() + row, parts.data() + row * width, splits, rows, width,
        out.data() + row * width);
  }
  compare(what + " in parts", out.data(), exact.data(), count, allowed);
}

}  // namespace

void test_attention(const Kernels& set) {
  for (int flags = 0; flags < 4; flags++) {
    const bool ranges = flags & 1, masked = flags & 2;
    attend(set, Case(1, 1, 1, 8, ranges, masked));
    attend(set, Case(1, 8, 300, 64, ranges, masked));
    attend(set, Case(7, 2, 50, 13, ranges, masked));
    attend(set, Case(45, 4, 97, 32, ranges, masked));
  }
}

}  // namespace g4::test
