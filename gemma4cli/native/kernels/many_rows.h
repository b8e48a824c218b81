// Products with many rows of input, limited by arithmetic: tiles of float32.
//
// The lanes of a vector hold rows of x, whose packed form is transposed; each number of a weight is
// broadcast. So weights need only be unpacked, not transposed, into a panel that fits the cache, and
// products of a few rows of x waste little. The results of a block are gathered transposed, and
// turned when they are complete.
#pragma once

#include "kernels.h"
#include "partial.h"
#include "simd.h"
#include "transpose.h"
#include "unpack.h"

namespace g4::G4_SET {

inline Vec within(Vec x, Limits limits) { return within(x, limits.low, limits.high); }

// Vectors of rows of x and rows of weights in a tile: as many as registers hold the sums of. A tile
// of one vector has more rows of weights, to keep the units busy for the time that a sum takes.
#if defined(G4_SET_avx512)
inline constexpr int panel_vectors = 3, tile_step = 16, fewest_rows = 13;
constexpr int tile_outputs(int vectors) { return vectors == 1 ? 16 : 8; }
#elif defined(G4_SET_avx2)
inline constexpr int panel_vectors = 2, tile_step = 12, fewest_rows = 14;
constexpr int tile_outputs(int vectors) { return vectors == 1 ? 12 : 6; }
#elif defined(G4_SET_neon)
inline constexpr int panel_vectors = 3, tile_step = 16, fewest_rows = 8;
constexpr int tile_outputs(int vectors) { return vectors == 1 ? 16 : 8; }
#else
inline constexpr int panel_vectors = 2, tile_step = 8, fewest_rows = 8;
constexpr int tile_outputs(int vectors) { return vectors == 1 ? 8 : 4; }
#endif

/// Rows of x in a panel; the last panel has as many vectors as its rows need.
inline constexpr int64_t panel_rows = panel_vectors * lanes;

/// Columns of a block, so that a panel of x stays in the first cache; a multiple of 16, the smallest
/// group.
inline constexpr int64_t depth_block = 192;

/// Floats from one unpacked row to the next: not a power of two, whose lines would share cache sets.
inline constexpr int64_t panel_stride = depth_block + 16;

inline int64_t packed_bytes(int64_t rows, int64_t columns) {
  return round_up(rows, lanes) * columns * 4;
}

/// Columns [first, last) of a panel of x, transposed: [columns, rows of the panel].
inline void pack_rows(
    const float* x, int64_t rows, int64_t columns, Limits limits, int64_t panel, int64_t first,
    int64_t last, uint8_t* packed) {
  const int64_t start = panel * panel_rows, count = smaller(panel_rows, rows - start);
  const int64_t width = round_up(count, lanes);
  float* out = reinterpret_cast<float*>(packed) + start * columns;
  for (int64_t i = 0; i < count; i += lanes) {
    for (int64_t k = first; k < last; k += lanes) {
      Vec block[lanes] = {};
      for (int64_t j = 0; j < smaller(lanes, count - i); j++) {
        const float* at = x + (start + i + j) * columns + k;
        block[j] = within(load_some(at, last - k), limits);
      }
      transpose(block);
      for (int64_t j = 0; j < smaller(lanes, last - k); j++) {
        store(out + (k + j) * width + i, block[j]);
      }
    }
  }
}

/// sums[r, m] (+)= sum_k weights[r, k] * x[k, m] for one tile. Each block of columns is summed from 0,
/// because the rounding errors of short sums are smaller.
template <int vectors>
inline void multiply_tile(
    const float* x, const float* weights, int64_t depth, float* sums, int64_t stride, bool add) {
  constexpr int outputs = tile_outputs(vectors);
  Vec total[outputs][vectors] = {};
  for (int64_t k = 0; k < depth; k++) {
    Vec values[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) values[v] = load(x + (k * vectors + v) * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < outputs; r++) {
      const Vec weight = fill(weights[r * panel_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) total[r][v] += weight * values[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < outputs; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
      float* sum = sums + r * stride + v * lanes;
      store(sum, add ? load(sum) + total[r][v] : total[r][v]);
    }
  }
}

template <int vectors>
inline void multiply_panel(
    const float* x, const float* weights, int64_t count, int64_t depth, float* sums,
    int64_t stride, bool add) {
  for (int64_t r = 0; r < count; r += tile_outputs(vectors)) {
    multiply_tile<vectors>(x, weights + r * panel_stride, depth, sums + r * stride, stride, add);
  }
}

/// The rows of a block of results, which are columns of `sums`, to their places in y.
inline void store_block(
    const float* sums, int64_t sums_stride, int64_t rows, int64_t count, const Finish& finish,
    float* y, int64_t stride) {
  for (int64_t i = 0; i < rows; i += lanes) {
    for (int64_t n = 0; n < count; n += lanes) {
      const int64_t some = smaller(lanes, count - n);
      const Vec bias = finish.bias ? load_some(finish.bias + n, some) : Vec{};
      Vec block[lanes];
      for (int j = 0; j < lanes; j++) block[j] = load(sums + (n + j) * sums_stride + i);
      transpose(block);
      for (int64_t j = 0; j < smaller(lanes, rows - i); j++) {
        store_some(y + (i + j) * stride + n, within(block[j] + bias, finish.limits), some);
      }
    }
  }
}

/// Rows of weights that a block needs space for: whole tiles, and whole vectors to turn.
inline int64_t block_outputs(int64_t count) {
  return round_up(round_up(count, tile_step), lanes);
}

/// Floats from the results of one row of weights to those of the next, apart for the same reason.
inline int64_t sums_stride(int64_t rows) { return round_up(rows, lanes) + 16; }

inline int64_t scratch_bytes(int64_t rows, int64_t count) {
  return block_outputs(count) * (panel_stride + sums_stride(rows)) * 4;
}

/// y[i, n] for i < rows and first <= n < last, where y points to column `first`.
inline void multiply_block(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  const int64_t count = last - first, columns = weight.columns, step = sums_stride(rows);
  const float* x = reinterpret_cast<const float*>(packed);
  float* panel = reinterpret_cast<float*>(scratch);
  float* sums = panel + block_outputs(count) * panel_stride;
  // Rows that fill the last tile count for nothing, but must not be slow numbers.
  std::memset(panel + count * panel_stride, 0, size_t(sums - panel - count * panel_stride) * 4);
  for (int64_t k = 0; k < columns; k += depth_block) {
    const int64_t depth = smaller(depth_block, columns - k);
    for (int64_t n = 0; n < count; n++) {
      unpack(weight, first + n, k, depth, panel + n * panel_stride);
    }
    for (int64_t i = 0; i < rows; i += panel_rows) {
      const int64_t vectors = smaller(panel_rows, round_up(rows - i, lanes)) / lanes;
      const float* start = x + i * columns + k * vectors * lanes;
      switch (vectors) {
        case 1:
          multiply_panel<1>(start, panel, count, depth, sums + i, step, k > 0);
          break;
        case 2:
          multiply_panel<2>(start, panel, count, depth, sums + i, step, k > 0);
          break;
        default:
          if constexpr (panel_vectors > 2) {
            multiply_panel<3>(start, panel, count, depth, sums + i, step, k > 0);
          }
          break;
      }
    }
  }
  store_block(sums, step, rows, count, finish, y, stride);
}

inline constexpr ManyRows many_rows = {
    .fewest = fewest_rows,
    .panel_rows = panel_rows,
    .output_step = tile_step,
    .most_outputs = 128,
    .packed_bytes = packed_bytes,
    .pack = pack_rows,
    .scratch_bytes = scratch_bytes,
    .multiply = multiply_block,
};

}  // namespace g4::G4_SET
