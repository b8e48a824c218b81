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

/// dx = dy * factor * slope(x) and dfactor = dy * curve(x), where f gives both of a vector.
template <class F>
inline void each_back(
    const float* x, const float* factor, const float* dy, float* dx, float* dfactor, int64_t count,
    F f) {
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t some = count - i;
    const Vec given = load_some(dy + i, some);
    const Vec by = factor ? load_some(factor + i, some) : fill(1);
    Vec value, slope;
    f(load_some(x + i, some), value, slope);
    store_some(dx + i, given * by * slope, some);
    if (dfactor) store_some(dfactor + i, given * value, some);
  }
}

void activate_back(
    Curve curve, const float* x, const float* factor, const float* dy, float* dx, float* dfactor,
    int64_t count) {
  const auto back = [&](auto f) { each_back(x, factor, dy, dx, dfactor, count, f); };
  switch (curve) {
    case Curve::exp:
      return back([](Vec a, Vec& value, Vec& slope) { value = slope = exp(a); });
    case Curve::tanh:
      return back([](Vec a, Vec& value, Vec& slope) {
        value = tanh(a);
        slope = 1.f - value * value;
      });
    case Curve::sigmoid:
      return back([](Vec a, Vec& value, Vec& slope) {
        value = sigmoid(a);
        slope = value * (1.f - value);
      });
    case Curve::silu:
      return back([](Vec a, Vec& value, Vec& slope) {
        const Vec share = sigmoid(a);
        value = a * share;
        slope = share + value * (1.f - share);
      });
    case Curve::gelu:
      return back([](Vec a, Vec& value, Vec& slope) {
        constexpr float turn = 1.5957691216057308f, bend = 0.044715f;
        const Vec share = sigmoid(turn * (a + bend * (a * a * a)));
        value = a * share;
        slope = share + value * (1.f - share) * (turn * (1.f + (3 * bend) * (a * a)));
      });
  }
}

void softcap(const float* x, float cap, float* y, int64_t count) {
  const Vec infinity = fill(__builtin_inff()), nan = fill(__builtin_nanf(""));
  each(x, nullptr, y, count, [=](Vec a, Vec) {
    return choose((a == infinity) | (a == -infinity), nan, tanh(a / cap) * cap);
  });
}

}  // namespace g4::G4_SET
