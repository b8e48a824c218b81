// Functions of a vector's numbers, to one or two units in the last place.
//
// exp's polynomial and its split of log 2 are those of the Cephes library (S. Moshier).
#pragma once

#include "simd.h"

namespace g4::G4_SET {

/// 0 below -104, infinite above 88.73, and NaN of NaN, as exact rounding gives.
inline Vec exp(Vec x) {
  // With the number as the second operand, min and max give NaN for NaN.
  x = min(fill(90), max(fill(-104), x));
  const Vec turns = x * 1.44269504088896341f;
#if defined(G4_SET_avx512)
  const Vec n = (Vec)_mm512_roundscale_ps((__m512)turns, 0);
#else
  const Vec shifted = turns + 0x1.8p23f;  // the sum's last bit counts ones
  const Vec n = shifted - 0x1.8p23f;
#endif
  const Vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Vec p = fill(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.f;
#if defined(G4_SET_avx512)
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  // In two steps: one factor's exponent would not reach the subnormal numbers or infinity.
  const IVec exponent = (IVec)shifted - (IVec)fill(0x1.8p23f), half = exponent >> 1;
  return p * (Vec)((half + 127) << 23) * (Vec)((exponent - half + 127) << 23);
#endif
}

inline Vec sigmoid(Vec x) { return 1.f / (1.f + exp(-x)); }

inline Vec tanh(Vec x) {
  const Vec z = x * x;
  Vec p = fill(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const Vec near = p * z * x + x;
  const Vec far = 1.f - 2.f / (exp(2.f * x) + 1.f);
  return choose(z < 0.390625f, near, far);
}

inline Vec silu(Vec x) { return x * sigmoid(x); }

/// x / 2 * (1 + tanh(u)), as a sigmoid of 2 u: the sum would lose the digits of small results.
inline Vec gelu_tanh(Vec x) {
  return x * sigmoid(1.5957691216057308f * (x + 0.044715f * (x * x * x)));
}

}  // namespace g4::G4_SET
