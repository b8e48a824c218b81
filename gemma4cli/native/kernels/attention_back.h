// What goes back through a row of attention's weights.
#pragma once

#include "kernels.h"
#include "partial.h"
#include "softmax.h"

namespace g4::G4_SET {

/// p = softmax(scale * p) and ds = scale * p * (ds - sum(p * ds)), over the keys that are seen.
void attention_back(
    float* p, float* ds, int64_t low, int64_t high, int64_t count, const bool* mask,
    int64_t mask_key, float scale) {
  for (int64_t j = low; mask && j < high; j++) {
    if (!mask[j * mask_key]) p[j] = no_score;
  }
  Vec tops = fill(no_score);
  for (int64_t j = low; j < high; j += lanes) {
    const Vec scores = load_some(p + j, high - j) * scale;
    if (high - j >= lanes) {
      tops = max(tops, scores);
    } else {
      for (int64_t i = 0; i < high - j; i++) tops[0] = scores[i] > tops[0] ? scores[i] : tops[0];
    }
  }
  const float top = largest(tops);
  Vec totals = {}, shares = {};
  for (int64_t j = low; j < high; j += lanes) {
    Vec weights = weight_of(load_some(p + j, high - j) * scale - top);
    for (int64_t i = high - j; i < lanes; i++) weights[i] = 0;
    store_some(p + j, weights, high - j);
    totals += weights;
    shares += weights * load_some(ds + j, high - j);
  }
  const float total = sum(totals), share = sum(shares) / total, inverse = 1 / total;
  for (int64_t j = low; j < high; j += lanes) {
    const Vec weights = load_some(p + j, high - j) * inverse;
    store_some(p + j, weights, high - j);
    store_some(ds + j, weights * (load_some(ds + j, high - j) - share) * scale, high - j);
  }
  std::memset(p, 0, size_t(low) * sizeof(float));
  std::memset(ds, 0, size_t(low) * sizeof(float));
  std::memset(p + high, 0, size_t(count - high) * sizeof(float));
  std::memset(ds + high, 0, size_t(count - high) * sizeof(float));
}

}  // namespace g4::G4_SET
