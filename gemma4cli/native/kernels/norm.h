// Root-mean-square norms.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace g4::G4_SET {

inline void rms_norm(
    const float* x, const float* weight, const float* residual, float scale, float eps, float* y,
    int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++, x += width, y += width) {
    Vec squares = {};
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) squares += load(x + j) * load(x + j);
    float total = sum(squares);
    for (; j < width; j++) total += x[j] * x[j];
    const float inverse = 1 / __builtin_sqrtf(total / float(width) + eps);
    for (j = 0; j + lanes <= width; j += lanes) {
      Vec value = load(x + j) * inverse;
      if (weight) value *= load(weight + j);
      if (residual) value += load(residual + j);
      store(y + j, value * scale);
    }
    for (; j < width; j++) {
      float value = x[j] * inverse;
      if (weight) value *= weight[j];
      if (residual) value += residual[j];
      y[j] = value * scale;
    }
    if (residual) residual += width;
  }
}

}  // namespace g4::G4_SET
