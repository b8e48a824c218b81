// Products with few rows of input, limited by how fast the weights are read.
#pragma once

#include "unpack.h"

namespace g4::G4_SET {

inline void few_rows(
    const Weight& weight, const float* x, int64_t count, float* y, int64_t stride, int64_t first,
    int64_t last) {
  constexpr int64_t block = 512;
  float values[block];
  for (int64_t n = first; n < last; n++) {
    for (int64_t i = 0; i < count; i++) y[i * stride + n] = 0;
    for (int64_t k = 0; k < weight.columns; k += block) {
      const int64_t size = smaller(block, weight.columns - k);
      unpack(weight, n, k, size, values);
      for (int64_t i = 0; i < count; i++) {
        const float* row = x + i * weight.columns + k;
        Vec total = {};
        int64_t j = 0;
        for (; j + lanes <= size; j += lanes) total += load(row + j) * load(values + j);
        float rest = sum(total);
        for (; j < size; j++) rest += row[j] * values[j];
        y[i * stride + n] += rest;
      }
    }
  }
}

}  // namespace g4::G4_SET
