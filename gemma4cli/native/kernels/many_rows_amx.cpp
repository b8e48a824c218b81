// Products with many rows of input in AMX's tiles of bfloat16, summed in float32.
//
// x and the weights are split into three bfloat16 parts each, which have the bits of float32. Six of
// the nine products of parts give what float32 would; the other three are smaller than its rounding.
// Weights that are bfloat16 have one part, which takes three products. So have the whole numbers of
// affine matrices: these are multiplied, and the sums of each group scaled in float32. As in
// many_rows.h, it is x that is packed transposed: each row of a tile holds pairs of columns of x for 16
// rows of x.
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

/// Bytes of x packed for 16 rows and 32 columns: tiles of each part, and the sum of each row.
template <int parts>
constexpr int64_t packed_step = parts * tile_bytes + 64;

template <int parts>
int64_t packed_bytes_in(int64_t rows, int64_t columns) {
  return round_up(rows, tile_rows) / tile_rows * (round_up(columns, tile_columns) / tile_columns) *
      packed_step<parts>;
}

/// A panel: for each 32 columns the tiles of the high parts, those of the next parts, then the sums.
template <int parts>
void pack_in(
    const float* x, int64_t rows, int64_t columns, Limits limits, int64_t panel, int64_t first,
    int64_t last, uint8_t* packed) {
  const int64_t start = panel * rows_of_panel, count = smaller(rows_of_panel, rows - start);
  const int64_t tiles = (count + tile_rows - 1) / tile_rows;
  uint8_t* out = packed + packed_bytes_in<parts>(start, columns);
  for (int64_t tile = 0; tile < tiles; tile++) {
    for (int64_t k = first; k < last; k += tile_columns) {
      Vec split[3][lanes] = {}, halves[lanes] = {};
      for (int64_t i = 0; i < smaller(tile_rows, count - tile * tile_rows); i++) {
        const float* at = x + (start + tile * tile_rows + i) * columns + k;
        const Vec left = within(load_some(at, last - k), limits);
        const Vec right = last - k > lanes
            ? within(load_some(at + lanes, last - k - lanes), limits) : Vec{};
        const Parts all = parts_of((__m512)left, (__m512)right);
        halves[i] = left + right;
        split[0][i] = (Vec)all.high;
        split[1][i] = (Vec)all.middle;
        split[2][i] = (Vec)all.low;
      }
      uint8_t* start_of_step = out + k / tile_columns * tiles * packed_step<parts>;
      uint8_t* place = start_of_step + tile * tile_bytes;
      for (int part = 0; part < parts; part++, place += tiles * tile_bytes) {
        transpose(split[part]);
        for (int i = 0; i < lanes; i++) {
          store(reinterpret_cast<float*>(place + 64 * i), split[part][i]);
        }
      }
      uint8_t* sums = start_of_step + parts * tiles * tile_bytes + 64 * tile;
      store(reinterpret_cast<float*>(sums), sums_of(halves));
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
    x += 2 * packed_step<x_parts>;
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
    x += packed_step<x_parts>;
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

/// The factors of a group's sums, for tiles of a place.
struct Scaling {
  const float* scales;  // of the place's rows of weights, or null if sums are added as they are
  const float* biases;
  const uint8_t* x_sums;  // of the first 32 columns
  int64_t x_step;         // bytes to those of the next ones
  int64_t x_steps;
  bool wide;
};

/// Adds tiles to sums, in memory of the first cache. Each block of columns is summed from 0, because
/// the rounding errors of short sums are smaller.
///
/// Tiles are added when the next ones are about to be stored: then they have arrived in memory, and
/// the tile unit is busy meanwhile.
class Sums {
 public:
  void add(const Place& place, const Scaling& scaling) {
    flush();
    _tile_stored(0, values_[0], 64);
    _tile_stored(1, values_[1], 64);
    _tile_stored(2, values_[2], 64);
    _tile_stored(3, values_[3], 64);
    pending_ = place;
    scaling_ = scaling;
  }

  void flush() {
    memory_barrier();
    if (!pending_.sums) return;
    float* const places[4] = {
        pending_.sums, pending_.sums + pending_.second, pending_.sums + pending_.third,
        pending_.sums + pending_.fourth};
    if (scaling_.scales) {
      const Vec x[2] = {x_sum(0), x_sum(1)};
      for (int i = 0; i < 4; i++) {
        add_scaled(
            values_[i], places[i], (scaling_.wide ? i / 2 : i) * tile_rows,
            x[scaling_.wide ? i % 2 : 0]);
      }
    } else {
      for (int i = 0; i < 4; i++) add_tile(values_[i], places[i]);
    }
    pending_.sums = nullptr;
  }

 private:
  Vec x_sum(int64_t tile) const {
    Vec sum = {};
    if (tile == 1 && !scaling_.wide) return sum;
    for (int64_t i = 0; i < scaling_.x_steps; i++) {
      sum += load_as<Vec>(scaling_.x_sums + i * scaling_.x_step + 64 * tile);
    }
    return sum;
  }

  void add_tile(const float* values, float* sums) const {
    for (int64_t i = 0; i < tile_rows; i++, sums += pending_.stride) {
      store(sums, load(sums) + load(values + i * lanes));
    }
  }

  void add_scaled(const float* values, float* sums, int64_t row, Vec x_sum) const {
    for (int64_t i = 0; i < tile_rows; i++, sums += pending_.stride) {
      const Vec start = load(sums) + fill(scaling_.biases[row + i]) * x_sum;
      store(sums, start + fill(scaling_.scales[row + i]) * load(values + i * lanes));
    }
  }

  alignas(64) float values_[4][tile_rows * lanes];
  Place pending_ = {};
  Scaling scaling_ = {};
};

/// Where a block's parts lie.
struct Block {
  uint8_t* weights;  // tiles of 16 rows: [rows / 16, columns / 32, parts]
  float* sums;
  int64_t sums_stride;
  int64_t outputs;  // rows of weights; the last tiles are full all the same
  int64_t tiles;    // of 32 columns

  // Of affine matrices whose whole numbers are multiplied.
  int64_t group_tiles;  // of 32 columns
  float* scales;        // [groups, rows], rows filled up to whole steps
  float* biases;
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
      sums.add(place, {});
    }
  }
}

/// The same where each group has a scale; adds to sums that begin with 0.
template <int x_parts>
inline void multiply_panel_groups(
    const Block& block, const uint8_t* x, int64_t row, bool wide, Sums& sums) {
  const int64_t step = block.tiles * tile_bytes, stride = block.sums_stride;
  const int64_t down = tile_rows * stride, x_step = (wide ? 2 : 1) * packed_step<x_parts>;
  const int64_t all_rows = round_up(block.outputs, outputs_of_step);
  for (int64_t n = 0; n < block.outputs; n += (wide ? 2 : 4) * tile_rows) {
    float* start = block.sums + n * stride + row;
    const Place place = wide ? Place{start, stride, lanes, down, down + lanes}
                             : Place{start, stride, down, 2 * down, 3 * down};
    const float *scales = block.scales + n, *biases = block.biases + n;
    for (int64_t tile = 0; tile < block.tiles; tile += block.group_tiles) {
      const uint8_t* group = x + tile * x_step;
      (wide ? multiply_square<x_parts, 1> : multiply_column<x_parts, 1>)(
          block.weights + n / tile_rows * step + tile * tile_bytes, step, group,
          block.group_tiles);
      sums.add(
          place, {scales, biases, group + (wide ? 2 : 1) * x_parts * tile_bytes, x_step,
                  block.group_tiles, wide});
      scales += all_rows;
      biases += all_rows;
    }
  }
}

/// Space for unpacked weights; those of one part leave some for scales and biases.
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

/// Whole numbers to tiles, and scales and biases to where a block has them.
void unpack_groups(
    const Weight& weight, int64_t first, int64_t count, int64_t k, int64_t depth, const Block& block) {
  const int64_t all_rows = round_up(count, outputs_of_step);
  const int64_t groups = depth / weight.group, groups_of_row = weight.columns / weight.group;
  const float middle = float(1 << (weight.bits - 1));
  for (int64_t n = 0; n < count; n++) {
    uint8_t* at = block.weights + n / tile_rows * block.tiles * tile_bytes + n % tile_rows * 64;
    unpack_whole_numbers(weight, first + n, k, depth, {at, tile_bytes, false});
    const int64_t group = (first + n) * groups_of_row + k / weight.group;
    for (int64_t i = 0; i < groups; i++) {
      const float scale = affine_parameter(weight.scale_type, weight.scales, group + i);
      block.scales[i * all_rows + n] = scale;
      block.biases[i * all_rows + n] =
          affine_parameter(weight.scale_type, weight.biases, group + i) + middle * scale;
    }
  }
}

/// All of a product, where `work(k, depth, block)` unpacks a block of weights, and
/// `panel(x, row, wide, k, block)` multiplies it with a panel of x.
template <int x_parts, class Unpack, class Multiply>
inline void for_blocks(
    const Weight& weight, const uint8_t* packed, int64_t rows, Block& block, Sums& sums,
    const Unpack& unpack_columns, const Multiply& multiply_panel) {
  const int64_t columns = weight.columns;
  configure_tiles();
  for (int64_t k = 0; k < columns; k += columns_of_block) {
    const int64_t depth = smaller(columns_of_block, columns - k);
    block.tiles = (depth + tile_columns - 1) / tile_columns;
    unpack_columns(k, depth);
    memory_barrier();
    for (int64_t i = 0; i < rows; i += rows_of_panel) {
      const bool wide = rows - i > tile_rows;
      const uint8_t* x = packed + packed_bytes_in<x_parts>(i, columns) +
          k / tile_columns * (wide ? 2 : 1) * packed_step<x_parts>;
      multiply_panel(x, i, wide, k == 0);
    }
    sums.flush();
  }
  _tile_release();
}

Block block_in(uint8_t* scratch, int64_t rows, int64_t count) {
  const int64_t space = weights_bytes(count);
  float* factors = reinterpret_cast<float*>(scratch + space / 3);
  return {
      .weights = scratch,
      .sums = reinterpret_cast<float*>(scratch + space),
      .sums_stride = sums_stride(rows),
      .outputs = count,
      .tiles = 0,
      .group_tiles = 0,
      .scales = factors,
      .biases = factors + space / 3 / 4,
  };
}

template <int x_parts, int weight_parts>
void multiply_in(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  const int64_t count = last - first;
  Block block = block_in(scratch, rows, count);
  Sums sums;
  for_blocks<x_parts>(
      weight, packed, rows, block, sums,
      [&](int64_t k, int64_t depth) {
        unpack_block<weight_parts>(weight, first, count, k, depth, block);
      },
      [&](const uint8_t* x, int64_t row, bool wide, bool start) {
        multiply_panel_tiles<x_parts, weight_parts>(block, x, row, wide, start, sums);
      });
  store_block(block.sums, block.sums_stride, rows, count, finish, y, stride);
}

void multiply_groups(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  const int64_t count = last - first;
  Block block = block_in(scratch, rows, count);
  block.group_tiles = weight.group / tile_columns;
  std::memset(block.sums, 0, size_t(round_up(count, outputs_of_step) * block.sums_stride) * 4);
  Sums sums;
  for_blocks<3>(
      weight, packed, rows, block, sums,
      [&](int64_t k, int64_t depth) { unpack_groups(weight, first, count, k, depth, block); },
      [&](const uint8_t* x, int64_t row, bool wide, bool) {
        multiply_panel_groups<3>(block, x, row, wide, sums);
      });
  store_block(block.sums, block.sums_stride, rows, count, finish, y, stride);
}

void multiply_exact(
    const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
    uint8_t* scratch, const Finish& finish, float* y, int64_t stride) {
  (weight.kind == Kind::affine ? multiply_groups
       : one_part(weight)      ? multiply_in<3, 1>
                               : multiply_in<3, 3>)(
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
