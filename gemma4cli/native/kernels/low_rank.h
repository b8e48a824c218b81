// What an adapter adds to the results of a product, while they are in the cache.
#pragma once

#include "few_rows_float.h"
#include "kernels.h"
#include "partial.h"
#include "transpose.h"

namespace g4::G4_SET {

/// Rows of results from which b is transposed once for all of them.
inline constexpr int64_t rows_to_transpose = 4;

/// Numbers of a row of b, and rows of b, that are transposed at a time: they fit the first cache.
inline constexpr int64_t rank_step = 64, turned_rows = 64;

/// `count` numbers of a row of b as a vector, at most `lanes`; the other lanes are zero.
template <Kind kind>
G4_INLINE Vec load_some_of(const uint8_t* at, int64_t count) {
  constexpr int size = kind == Kind::f32 ? 4 : 2;
  if (count >= lanes) return load_kind<kind>(at);
  uint8_t end[size * lanes] = {};
  std::memcpy(end, at, size_t(size * count));
  return load_kind<kind>(end);
}

/// `some` results from output `n` on, complete but for the factor and the bias.
G4_INLINE void finish(const Addition& addition, Vec value, float* y, int64_t n, int64_t some) {
  if (addition.share) value *= load_some(addition.share + n, some);
  if (addition.bias) value += load_some(addition.bias + n, some);
  store_some(y + n, value, some);
}

/// Lane r is the product of h with the row of b that begins `r` rows after `at`; there are `some`.
template <Kind kind>
G4_INLINE Vec dot_products(const uint8_t* at, const float* h, int64_t rank, int64_t some) {
  constexpr int size = kind == Kind::f32 ? 4 : 2;
  const int64_t row = rank * size, whole = some == lanes ? rank / lanes * lanes : 0;
  Vec sums[lanes] = {};
  for (int64_t j = 0; j < whole; j += lanes) {
    const Vec inner = load(h + j);
#pragma GCC unroll 16
    for (int r = 0; r < lanes; r++) sums[r] += load_kind<kind>(at + r * row + j * size) * inner;
  }
  for (int64_t j = whole; j < rank; j += lanes) {
    const Vec inner = load_some(h + j, rank - j);
    for (int r = 0; r < some; r++) {
      sums[r] += load_some_of<kind>(at + r * row + j * size, rank - j) * inner;
    }
  }
  return sums_of(sums);
}

/// Each row of results for itself: dot products of rows of b with h.
template <Kind kind>
void add_by_row(
    const Addition& addition, const float* h, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  const int64_t rank = addition.b.columns;
  for (int64_t n = first; n < last; n += lanes) {
    const int64_t some = smaller(lanes, last - n);
    const uint8_t* at = addition.b.data + n * addition.b.row_bytes();
    for (int64_t i = 0; i < count; i++) {
      float* row = y[i];
      const Vec added = dot_products<kind>(at, h + i * rank, rank, some);
      finish(addition, load_some(row + n, some) + added, row, n, some);
    }
  }
}

/// `depth` numbers from `k` on of the rows [n, n + some) of b, transposed: [depth, lanes], the depth
/// filled up to whole vectors.
template <Kind kind>
void turn(const Weight& b, int64_t n, int64_t some, int64_t k, int64_t depth, float* to) {
  constexpr int size = kind == Kind::f32 ? 4 : 2;
  for (int64_t j = 0; j < depth; j += lanes) {
    Vec block[lanes];
    for (int r = 0; r < lanes; r++) {
      const uint8_t* at = b.data + ((n + r) * b.columns + k + j) * size;
      block[r] = r < some ? load_some_of<kind>(at, depth - j) : Vec{};
    }
    transpose(block);
    for (int r = 0; r < lanes; r++) store(to + (j + r) * lanes, block[r]);
  }
}

/// `some` results of each of `rows` rows: `depth` products are added.
template <int rows>
G4_INLINE void add_turned(
    const Addition& addition, const float* turned, const float* h, int64_t depth, bool last,
    float* const* y, int64_t n, int64_t some) {
  const int64_t rank = addition.b.columns;
  Vec total[rows];
  for (int i = 0; i < rows; i++) total[i] = load_some(y[i] + n, some);
  for (int64_t j = 0; j < depth; j++) {
    const Vec numbers = load(turned + j * lanes);
    for (int i = 0; i < rows; i++) total[i] += numbers * fill(h[i * rank + j]);
  }
  for (int i = 0; i < rows; i++) {
    if (last) {
      finish(addition, total[i], y[i], n, some);
    } else {
      store_some(y[i] + n, total[i], some);
    }
  }
}

/// All rows of results: b is transposed once, some rows of it at a time.
template <Kind kind>
void add_turning(
    const Addition& addition, const float* h, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  const int64_t rank = addition.b.columns;
  alignas(64) float turned[turned_rows * rank_step];
  for (int64_t start = first; start < last; start += turned_rows) {
    const int64_t end = smaller(start + turned_rows, last);
    for (int64_t k = 0; k < rank; k += rank_step) {
      const int64_t depth = smaller(rank_step, rank - k);
      for (int64_t n = start; n < end; n += lanes) {
        turn<kind>(
            addition.b, n, smaller(lanes, end - n), k, depth, turned + (n - start) * rank_step);
      }
      const bool whole = k + depth == rank;
      for (int64_t i = 0; i < count; i += 4) {
        for (int64_t n = start; n < end; n += lanes) {
          const float *columns = turned + (n - start) * rank_step, *inner = h + i * rank + k;
          const int64_t some = smaller(lanes, end - n);
          if (count - i >= 4) {
            add_turned<4>(addition, columns, inner, depth, whole, y + i, n, some);
            continue;
          }
          for (int64_t r = 0; r < count - i; r++) {
            add_turned<1>(
                addition, columns, inner + r * rank, depth, whole, y + i + r, n, some);
          }
        }
      }
    }
  }
}

template <Kind kind>
void add_low_rank_of(
    const Addition& addition, const float* h, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  const bool turning = count >= rows_to_transpose && addition.b.columns > 0;
  (turning ? add_turning<kind> : add_by_row<kind>)(addition, h, count, y, first, last);
}

inline void add_low_rank(
    const Addition& addition, const float* h, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  const auto add = addition.b.kind == Kind::f32 ? add_low_rank_of<Kind::f32>
      : addition.b.kind == Kind::f16            ? add_low_rank_of<Kind::f16>
                                                : add_low_rank_of<Kind::bf16>;
  add(addition, h, count, y, first, last);
}

}  // namespace g4::G4_SET
