// A running softmax: scores become weights relative to the largest score so far.
#pragma once

#include "math.h"
#include "simd.h"

namespace g4::G4_SET {

/// Below any score, but finite, so that the difference of two is a number.
inline constexpr float no_score = -3e38f;

/// exp(x) for x <= 0, and 0 where a sum with exp(0) would not show it: products with the smallest
/// numbers, the subnormal ones, take a hundred times as long.
inline Vec weight_of(Vec x) { return choose(x < -64.f, Vec{}, exp(x)); }

}  // namespace g4::G4_SET
