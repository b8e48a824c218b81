// Square blocks of numbers, one vector per row, to their columns.
#pragma once

#include "simd.h"

namespace g4::G4_SET {

#if defined(G4_SET_avx512)
inline IVec riffle_indexes(int start) {
  IVec index = {};
  for (int i = 0; i < lanes; i++) index[i] = start + i / 2 + (i % 2) * lanes;
  return index;
}
inline Vec riffle_low(Vec a, Vec b) {
  return (Vec)_mm512_permutex2var_ps((__m512)a, (__m512i)riffle_indexes(0), (__m512)b);
}
inline Vec riffle_high(Vec a, Vec b) {
  return (Vec)_mm512_permutex2var_ps((__m512)a, (__m512i)riffle_indexes(lanes / 2), (__m512)b);
}
#elif defined(G4_SET_avx2)
inline Vec riffle_low(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
inline Vec riffle_high(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
#else
inline Vec riffle_low(Vec a, Vec b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline Vec riffle_high(Vec a, Vec b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#endif

/// rows[i][j] becomes rows[j][i]. Each step riffles the first half of the rows with the second like
/// cards, which turns the bits of a number's place (row and lane) by one.
inline void transpose(Vec (&rows)[lanes]) {
#pragma GCC unroll 4
  for (int step = 1; step < lanes; step *= 2) {
    Vec next[lanes];
#pragma GCC unroll 8
    for (int i = 0; i < lanes / 2; i++) {
      next[2 * i] = riffle_low(rows[i], rows[i + lanes / 2]);
      next[2 * i + 1] = riffle_high(rows[i], rows[i + lanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes; i++) rows[i] = next[i];
  }
}

/// Lane i of the result is the sum of rows[i]; the order of additions is that of `transpose`'s steps.
inline Vec sums_of(Vec (&rows)[lanes]) {
#pragma GCC unroll 4
  for (int half = lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) {
      const Vec a = rows[i], b = rows[i + half];
      rows[i] = riffle_low(a, b) + riffle_high(a, b);
    }
  }
  return rows[0];
}

}  // namespace g4::G4_SET
