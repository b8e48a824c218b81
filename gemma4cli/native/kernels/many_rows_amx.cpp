// Products with many rows of input in AMX's tiles of bfloat16, summed in float32.
//
// x and the weights are split into three bfloat16 parts each, which have the bits of float32. Six of
// the nine products of parts give what float32 would; the other three are smaller than its rounding.
// Weights that are bfloat16 have one part, which takes three products. As in many_rows.h, it is x that
// is packed transposed: each row of a tile holds pairs of columns of x for 16 rows of x.
#include <immintrin.h>

#include "bf16_parts.h"
#include "kernels.h"
#include "many_rows.h"
#include "transpose.h"

namespace g4 {
extern const ManyRows amx_many_rows, amx_rounded_many_rows;

namespace amx {
namespace {

constexpr int64_t tile_rows = 16;     // of x, or of weights
constexpr int64_t tile_columns = 32;  // of both
constexpr int64_t tile_bytes = 1024;
constexpr int64_t rows_of_panel = 2 * tile_rows;

/// Columns of a block, so that a panel of x stays in the first cache.
constexpr int64_t columns_of_block = 256;

/// Rows of weights that the results of a narrow panel are computed for at once.
constexpr int64_t outputs_of_step = 4 * tile_rows;

struct alignas(64) TileConfig {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

/// Memory that the compiler does not know the tiles' instructions to read or write is up to date.
inline void memory_barrier() { __asm__ volatile("" : : : "memory"); }

void configure_tiles() {
  TileConfig config = {};
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.bytes[i] = 64;
    config.rows[i] = 16;
  }
  // GCC's intrinsic says that it reads eight bytes; the rest must be written before, too.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

template <int parts>
int64_t packed_bytes_in(int64_t rows, int64_t columns) {
  return round_up(rows, tile_rows) * round_up(columns, tile_columns) * 2 * parts;
}

/// A panel: for each 32 columns the tiles of the high parts, then those of the next parts.
template <int parts>
void pack_in(
    const float* x, int64_t rows, int64_t columns, Limits limits, int64_t panel, int64_t first,
    int64_t last, uint8_t* packed) {
  const int64_t start = panel * rows_of_panel, count = smaller(rows_of_panel, rows - start);
  const int64_t tiles = (count + tile_rows - 1) / tile_rows;
  uint8_t* out = packed + packed_bytes_in<parts>(start, columns);
  for (int64_t tile = 0; tile < tiles; tile++) {
    for (int64_t k = first; k < last; k += tile_columns) {
      Vec split[3][lanes] = {};
      for (int64_t i = 0; i < smaller(tile_rows, count - tile * tile_rows); i++) {
        const float* at = x + (start + tile * tile_rows + i) * columns + k;
        const Vec left = clip(load_some(at, last - k), limits);
        const Vec right = last - k > lanes
            ? clip(load_some(at + lanes, last - k - lanes), limits) : Vec{};
        const Parts all = parts_of((__m512)left, (__m512)right);
        split[0][i] = (Vec)all.high;
        split[1][i] = (Vec)all.middle;
        split[2][i] = (Vec)all.low;
      }
      uint8_t* place = out + (k / tile_columns * parts * tiles + tile) * tile_bytes;
      for (int part = 0; part < parts; part++, place += tiles * tile_bytes) {
        transpose(split[part]);
        for (int i = 0; i < lanes; i++) {
          store(reinterpret_cast<float*>(place + 64 * i), split[part][i]);
        }
      }
    }
  }
}

/// The parts of x that a part of the weights is multiplied with.
template <int x_parts>
constexpr int partners(int weight_part) {
  return x_parts - weight_part;
}

/// Results of 2 by 2 tiles, of 32 rows of weights and 32 of x. `tiles` counts 32 columns each;
/// `step` is the distance in bytes of the weights of 16 rows from those of the next.
template <int x_parts, int weight_parts>
inline void multiply_square(const uint8_t* weights, int64_t step, const uint8_t* x, int64_t tiles) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < tiles; k++) {
    // Small products first: their sum is not rounded to the large ones' digits.
    for (int part = weight_parts - 1; part >= 0; part--) {
      _tile_loadd(4, weights + part * tile_bytes, 64);
      _tile_loadd(5, weights + step + part * tile_bytes, 64);
      for (int other = partners<x_parts>(part) - 1; other >= 0; other--) {
        _tile_loadd(6, x + 2 * other * tile_bytes, 64);
        _tile_loadd(7, x + (2 * other + 1) * tile_bytes, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    weights += weight_parts * tile_bytes;
    x += 2 * x_parts * tile_bytes;
  }
}

/// Results of 4 tiles of 16 rows of weights each, for 16 rows of x.
template <int x_parts, int weight_parts>
inline void multiply_column(const uint8_t* weights, int64_t step, const uint8_t* x, int64_t tiles) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < tiles; k++) {
    for (int part = weight_parts - 1; part >= 0; part--) {
      for (int other = partners<x_parts>(part) - 1; other >= 0; other--) {
        const uint8_t* at = weights + part * tile_bytes;
        _tile_loadd(6, x + other * tile_bytes, 64);
        _tile_loadd(4, at, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, at + step, 64);
        _tile_dpbf16ps(1, 5, 6);
        _tile_loadd(4, at + 2 * step, 64);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(5, at + 3 * step, 64);
        _tile_dpbf16ps(3, 5, 6);
      }
    }
    weights += weight_parts * tile_bytes;
    x += x_parts * tile_bytes;
  }
}

/// Where the four tiles of results belong: after the first one by `second`, `third` and `fourth` floats.
struct Place {
  float* sums;
  int64_t stride;
  int64_t second, third, fourth;

  void store_tiles() const {
    _tile_stored(0, sums, stride * 4);
    _tile_stored(1, sums + second, stride * 4);
    _tile_stored(2, sums + third, stride * 4);
    _tile_stored(3, sums + fourth, stride * 4);
  }
};

/// Adds tiles to sums, in memory of the first cache. Each block of columns is summed from 0, because
/// the rounding errors of short sums are smaller.
///
/// Tiles are added when the next ones are about to be stored: then they have arrived in memory, and
/// the tile unit is busy meanwhile.
class Sums {
 public:
  void add(const Place& place) {
    flush();
    _tile_stored(0, values_[0], 64);
    _tile_stored(1, values_[1], 64);
    _tile_stored(2, values_[2], 64);
    _tile_stored(3, values_[3], 64);
    pending_ = place;
  }

  void flush() {
    memory_barrier();
    if (!pending_.sums) return;
    add_tile(values_[0], pending_.sums);
    add_tile(values_[1], pending_.sums + pending_.second);
    add_tile(values_[2], pending_.sums + pending_.third);
    add_tile(values_[3], pending_.sums + pending_.fourth);
    pending_.sums = nullptr;
  }

 private:
  void add_tile(const float* values, float* sums) const {
    for (int64_t i = 0; i < tile_rows; i++, sums += pending_.stride) {
      store(sums, load(sums) + load(values + i * lanes));
    }
  }

  alignas(64) float values_[4][tile_rows * lanes];
  Place pending_ = {};
};

/// Where a block's parts lie.
struct Block {
  uint8_t* weights;  // tiles of 16 rows: [rows / 16, columns / 32, parts]
  float* sums;
  int64_t sums_stride;
  int64_t outputs;  // rows of weights; the last tiles are full all the same
  int64_t tiles;    // of 32 columns
};

/// All results of a panel of x, of one or two tiles, for the first or a later block of columns.
template <int x_parts, int weight_parts>
inline void multiply_panel_tiles(
    const Block& block, const uint8_t* x, int64_t row, bool wide, bool first, Sums& sums) {
  const int64_t step = block.tiles * weight_parts * tile_bytes, stride = block.sums_stride;
  const int64_t down = tile_rows * stride;
  for (int64_t n = 0; n < block.outputs; n += (wide ? 2 : 4) * tile_rows) {
    float* start = block.sums + n * stride + row;
    const Place place = wide ? Place{start, stride, lanes, down, down + lanes}
                             : Place{start, stride, down, 2 * down, 3 * down};
    (wide ? multiply_square<x_parts, weight_parts> : multiply_column<x_parts, weight_parts>)(
        block.weights + n / tile_rows * step, step, x, block.tiles);
    if (first) {
      place.store_tiles();
    } else {
      sums.add(place);
    }
  }
}

int64_t weights_bytes(int64_t count) {
  return round_up(count, outputs_of_step) * columns_of_block * 2 * 3;
}

int64_t scratch_bytes_of(int64_t rows, int64_t count) {
  return weights_bytes(count) + round_up(count, outputs_of_step) * sums_stride(rows) * 4;
}

template <int weight_parts>
void unpack_block(
    const Weight& weight, int64_t first, int64_t count, int64_t k, int64_t depth, const Block& block) {
  for (int64_t n = 0; n < count; n++) {
    uint8_t* at = block.weights + n / tile_rows * block.tiles * weight_parts * tile_bytes +
        n % tile_rows * 64;
    unpack_tiles(
        weight, first + n, k, depth,
        {at, weight_parts * tile_bytes, weight_parts > 1});
  }
}

template <int x_parts, int weight_parts>
void multiply_in(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  const int64_t count = last - first, columns = weight.columns;
  Block block = {
      scratch, reinterpret_cast<float*>(scratch + weights_bytes(count)), sums_stride(rows),
      count, 0};
  Sums sums;
  configure_tiles();
  for (int64_t k = 0; k < columns; k += columns_of_block) {
    const int64_t depth = smaller(columns_of_block, columns - k);
    block.tiles = (depth + tile_columns - 1) / tile_columns;
    unpack_block<weight_parts>(weight, first, count, k, depth, block);
    memory_barrier();
    for (int64_t i = 0; i < rows; i += rows_of_panel) {
      const bool wide = rows - i > tile_rows;
      const uint8_t* x = packed + packed_bytes_in<x_parts>(i, columns) +
          k * (wide ? 2 : 1) * tile_rows * 2 * x_parts;
      multiply_panel_tiles<x_parts, weight_parts>(block, x, i, wide, k == 0, sums);
    }
    sums.flush();
  }
  _tile_release();
  store_block(block.sums, block.sums_stride, rows, count, finish, y, stride);
}

void multiply_exact(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  (one_part(weight) ? multiply_in<3, 1> : multiply_in<3, 3>)(
      weight, packed, rows, first, last, scratch, finish, y, stride);
}

}  // namespace
}  // namespace amx

const ManyRows amx_many_rows = {
    .fewest = 9,
    .panel_rows = amx::rows_of_panel,
    .output_step = amx::outputs_of_step,
    .most_outputs = 384,
    .packed_bytes = amx::packed_bytes_in<3>,
    .pack = amx::pack_in<3>,
    .scratch_bytes = amx::scratch_bytes_of,
    .multiply = amx::multiply_exact,
};

const ManyRows amx_rounded_many_rows = {
    .fewest = 9,
    .panel_rows = amx::rows_of_panel,
    .output_step = amx::outputs_of_step,
    .most_outputs = 384,
    .packed_bytes = amx::packed_bytes_in<1>,
    .pack = amx::pack_in<1>,
    .scratch_bytes = amx::scratch_bytes_of,
    .multiply = amx::multiply_in<1, 1>,
};

}  // namespace g4
