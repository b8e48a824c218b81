// The audio tower's attention: each query sees a few keys around it.
#pragma once

#include "kernels.h"
#include "math.h"
#include "simd.h"

namespace g4::G4_SET {

/// query . (key * scale + relative)
inline float position_score(
    const float* query, const float* key, float scale, const float* relative, int64_t width) {
  Vec total = {};
  float rest = 0;
  int64_t d = 0;
  for (; d + lanes <= width; d += lanes) {
    Vec sum = load(key + d) * scale;
    if (relative) sum += load(relative + d);
    total += sum * load(query + d);
  }
  for (; d < width; d++) {
    rest += query[d] * (key[d] * scale + (relative ? relative[d] : 0));
  }
  return sum(total) + rest;
}

inline void softmax_capped(float* scores, int64_t count, float cap) {
  Vec top = fill(-__builtin_inff());
  for (int64_t i = 0; i < count; i += lanes) {
    // Numbers after the last are -infinity and stay so.
    const Vec score = load(scores + i), capped = tanh(score / cap) * cap;
    const Vec kept = choose(score == fill(-__builtin_inff()), score, capped);
    store(scores + i, kept);
    top = max(top, kept);
  }
  const Vec most = fill(largest(top));
  Vec total = {};
  for (int64_t i = 0; i < count; i += lanes) {
    const Vec weight = exp(load(scores + i) - most);
    store(scores + i, weight);
    total += weight;
  }
  const Vec share = fill(1 / sum(total));
  for (int64_t i = 0; i < count; i += lanes) store(scores + i, load(scores + i) * share);
}

void local_attention(const LocalTile& tile, int64_t first, int64_t last, float* scratch) {
  const int64_t width = tile.width;
  float* query = scratch;
  float* scores = scratch + width;
  for (int64_t t = first; t < last; t++) {
    float* out = tile.out + t * tile.out_token;
    std::memset(out, 0, width * sizeof(float));
    const int64_t from = t < tile.before ? 0 : t - tile.before;
    const int64_t to = smaller(tile.length, t + tile.after + 1), seen = to - from;
    if (seen <= 0) continue;
    for (int64_t d = 0; d < width; d++) query[d] = tile.q[t * tile.q_token + d] * tile.q_scale[d];
    for (int64_t i = 0; i < seen; i++) {
      const int64_t index = tile.nearest - (t - (from + i));
      const float* relative = index >= 0 && index < tile.distances
          ? tile.relative + index * tile.relative_stride
          : nullptr;
      const float* key = tile.k + (from + i) * tile.k_token;
      scores[i] = position_score(query, key, tile.k_scale, relative, width);
    }
    for (int64_t i = seen; i % lanes != 0; i++) scores[i] = -__builtin_inff();
    softmax_capped(scores, seen, tile.cap);
    for (int64_t i = 0; i < seen; i++) {
      const float* value = tile.v + (from + i) * tile.v_token;
      int64_t d = 0;
      for (; d + lanes <= width; d += lanes) {
        store(out + d, load(out + d) + load(value + d) * scores[i]);
      }
      for (; d < width; d++) out[d] += value[d] * scores[i];
    }
  }
}

}  // namespace g4::G4_SET
