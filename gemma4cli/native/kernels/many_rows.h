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

/// Rows of weights that a block needs space for: whole tiles, and whole vectors to turn.
inline int64_t block_outputs(int64_t count) {
  return round_up(round_up(count, tile_step), lanes);
}

/// Blocks of weights whose rows make the outputs: [outputs, depth].
struct ByRows {
  static constexpr int64_t output_step = tile_step;
  static int64_t depth(const Weight& weight) { return weight.columns; }
  static constexpr int64_t floats(int64_t outputs) { return outputs * panel_stride; }
  static constexpr int64_t at(int64_t output, int64_t k, int64_t) {
    return output * panel_stride + k;
  }

  /// Depths [k, k + depth) of outputs [first, first + count); rows that fill the last tile count for
  /// nothing, but must not be slow numbers.
  static void unpack(
      const Weight& weight, int64_t first, int64_t count, int64_t k, int64_t depth, int64_t outputs,
      float* panel) {
    for (int64_t n = 0; n < count; n++) {
      G4_SET::unpack(weight, first + n, k, depth, panel + n * panel_stride);
    }
    if (k > 0) return;
    std::memset(panel + count * panel_stride, 0, size_t((outputs - count) * panel_stride) * 4);
  }
};

/// Blocks of weights whose columns make the outputs: [depth, outputs].
struct ByColumns {
  static constexpr int64_t output_step = 64;  // whole groups, for the most part
  static int64_t depth(const Weight& weight) { return weight.rows; }
  static constexpr int64_t stride(int64_t outputs) { return outputs + 16; }
  static constexpr int64_t floats(int64_t outputs) { return depth_block * stride(outputs); }
  static constexpr int64_t at(int64_t output, int64_t k, int64_t outputs) {
    return k * stride(outputs) + output;
  }

  static void unpack(
      const Weight& weight, int64_t first, int64_t count, int64_t k, int64_t depth, int64_t outputs,
      float* panel) {
    const uint8_t* data = weight.data + first * weight.bits / 8;
    for (int64_t i = 0; i < depth; i++) {
      // The next rows are far apart in memory, where the processor does not look ahead itself.
      __builtin_prefetch(data + smaller(k + i + 12, weight.rows - 1) * weight.row_bytes());
      float* row = panel + i * stride(outputs);
      G4_SET::unpack(weight, k + i, first, count, row);
      if (k == 0) std::memset(row + count, 0, size_t(outputs - count) * 4);
    }
  }
};

/// sums[r, m] (+)= sum_k weights[r, k] * x[k, m] for one tile. Each block of columns is summed from 0,
/// because the rounding errors of short sums are smaller. `all` are the outputs of the block.
template <class Panel, int vectors>
inline void multiply_tile(
    const float* x, const float* weights, int64_t all, int64_t depth, float* sums, int64_t stride,
    bool add) {
  constexpr int outputs = tile_outputs(vectors);
  Vec total[outputs][vectors] = {};
  for (int64_t k = 0; k < depth; k++) {
    Vec values[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) values[v] = load(x + (k * vectors + v) * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < outputs; r++) {
      const Vec weight = fill(weights[Panel::at(r, k, all)]);
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

template <class Panel, int vectors>
inline void multiply_panel(
    const float* x, const float* weights, int64_t count, int64_t all, int64_t depth, float* sums,
    int64_t stride, bool add) {
  for (int64_t r = 0; r < count; r += tile_outputs(vectors)) {
    multiply_tile<Panel, vectors>(
        x, weights + Panel::at(r, 0, all), all, depth, sums + r * stride, stride, add);
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

/// Floats from the results of one row of weights to those of the next, apart for the same reason.
inline int64_t sums_stride(int64_t rows) { return round_up(rows, lanes) + 16; }

template <class Panel>
inline int64_t scratch_bytes(int64_t rows, int64_t count) {
  const int64_t outputs = block_outputs(count);
  return (Panel::floats(outputs) + outputs * sums_stride(rows)) * 4;
}

/// y[i, n] for i < rows and first <= n < last, where y points to column `first`.
template <class Panel>
inline void multiply_block(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  const int64_t count = last - first, all = block_outputs(count), step = sums_stride(rows);
  const int64_t columns = Panel::depth(weight);
  const float* x = reinterpret_cast<const float*>(packed);
  float* panel = reinterpret_cast<float*>(scratch);
  float* sums = panel + Panel::floats(all);
  for (int64_t k = 0; k < columns; k += depth_block) {
    const int64_t depth = smaller(depth_block, columns - k);
    Panel::unpack(weight, first, count, k, depth, all, panel);
    for (int64_t i = 0; i < rows; i += panel_rows) {
      const int64_t vectors = smaller(panel_rows, round_up(rows - i, lanes)) / lanes;
      const float* start = x + i * columns + k * vectors * lanes;
      switch (vectors) {
        case 1:
          multiply_panel<Panel, 1>(start, panel, count, all, depth, sums + i, step, k > 0);
          break;
        case 2:
          multiply_panel<Panel, 2>(start, panel, count, all, depth, sums + i, step, k > 0);
          break;
        default:
          if constexpr (panel_vectors > 2) {
            multiply_panel<Panel, 3>(start, panel, count, all, depth, sums + i, step, k > 0);
          }
          break;
      }
    }
  }
  store_block(sums, step, rows, count, finish, y, stride);
}

template <class Panel>
inline constexpr ManyRows many_rows_with = {
    .fewest = fewest_rows,
    .panel_rows = panel_rows,
    .output_step = Panel::output_step,
    .most_outputs = 128,
    .packed_bytes = packed_bytes,
    .pack = pack_rows,
    .scratch_bytes = scratch_bytes<Panel>,
    .multiply = multiply_block<Panel>,
};

inline constexpr ManyRows many_rows = many_rows_with<ByRows>;
inline constexpr ManyRows many_rows_by_columns = many_rows_with<ByColumns>;

}  // namespace g4::G4_SET
