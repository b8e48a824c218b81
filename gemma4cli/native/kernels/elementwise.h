// Functions of each number.
#pragma once

#include "kernels.h"
#include "math.h"
#include "partial.h"
#include "simd.h"

namespace g4::G4_SET {

/// y[i] = f(x[i], factor[i]) for vectors; a missing factor is 1.
template <class F>
inline void each(const float* x, const float* factor, float* y, int64_t count, F f) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    store(y + i, f(load(x + i), factor ? load(factor + i) : fill(1)));
  }
  if (i == count) return;
  const Vec last = factor ? load_some(factor + i, count - i) : fill(1);
  store_some(y + i, f(load_some(x + i, count - i), last), count - i);
}

void activate(Curve curve, const float* x, const float* factor, float* y, int64_t count) {
  switch (curve) {
    case Curve::exp:
      return each(x, factor, y, count, [](Vec a, Vec b) { return exp(a) * b; });
    case Curve::tanh:
      return each(x, factor, y, count, [](Vec a, Vec b) { return tanh(a) * b; });
    case Curve::sigmoid:
      return each(x, factor, y, count, [](Vec a, Vec b) { return sigmoid(a) * b; });
    case Curve::silu:
      return each(x, factor, y, count, [](Vec a, Vec b) { return silu(a) * b; });
    case Curve::gelu:
      return each(x, factor, y, count, [](Vec a, Vec b) { return gelu_tanh(a) * b; });
  }
}

void softcap(const float* x, float cap, float* y, int64_t count) {
  const Vec infinity = fill(__builtin_inff()), nan = fill(__builtin_nanf(""));
  each(x, nullptr, y, count, [=](Vec a, Vec) {
    return choose((a == infinity) | (a == -infinity), nan, tanh(a / cap) * cap);
  });
}

}  // namespace g4::G4_SET
