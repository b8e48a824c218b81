// Few rows of input times floating-point numbers without scales.
#pragma once

#include "few_rows_packed.h"
#include "scales.h"

namespace g4::G4_SET {

template <Kind kind>
G4_INLINE Vec load_kind(const uint8_t* at) {
  if constexpr (kind == Kind::f32) return load_as<Vec>(at);
  if constexpr (kind == Kind::f16) return load_f16(at);
  return load_bf16(at);
}

inline int64_t float_prepared_size(const Weight& weight) {
  return round_up(weight.columns, lanes);
}

inline void prepare_float(const Weight& weight, const float* x, float* out) {
  std::memcpy(out, x, size_t(weight.columns) * sizeof(float));
  for (int64_t k = weight.columns; k < float_prepared_size(weight); k++) out[k] = 0;
}

/// y[i][n + r * apart] for all i < count and r < rows.
template <Kind kind, int rows, int count>
void multiply_float(
    const Weight& weight, const float* const* x, float* const* y, int64_t n, int64_t apart) {
  constexpr int size = kind == Kind::f32 ? 4 : 2, vector_bytes = size * lanes;
  // Two sums for each result: one product would wait for the other.
  constexpr int sums = rows * count > 4 ? 1 : 2;
  const int64_t columns = weight.columns, whole = columns / lanes * lanes;
  const uint8_t* at[rows];
  for (int r = 0; r < rows; r++) at[r] = weight.data + (n + r * apart) * weight.row_bytes();
  Vec total[sums][rows][count] = {};
  int64_t k = 0;
  for (; k + sums * lanes <= whole; k += sums * lanes) {
    for (int s = 0; s < sums; s++) {
      for (int r = 0; r < rows; r++) {
        __builtin_prefetch(at[r] + s * vector_bytes + prefetch_bytes);
        const Vec value = load_kind<kind>(at[r] + s * vector_bytes);
        for (int i = 0; i < count; i++) total[s][r][i] += value * load(x[i] + k + s * lanes);
      }
    }
    for (int r = 0; r < rows; r++) at[r] += sums * vector_bytes;
  }
  for (; k < columns; k += lanes) {
    for (int r = 0; r < rows; r++) {
      uint8_t end[vector_bytes] = {};
      std::memcpy(end, at[r], size_t(size * smaller(lanes, columns - k)));
      const Vec value = load_kind<kind>(end);
      for (int i = 0; i < count; i++) total[0][r][i] += value * load(x[i] + k);
      at[r] += vector_bytes;
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < count; i++) {
      Vec all = total[0][r][i];
      if constexpr (sums == 2) all += total[1][r][i];
      y[i][n + r * apart] = sum(all);
    }
  }
}

}  // namespace g4::G4_SET
