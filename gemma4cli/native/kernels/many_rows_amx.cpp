// Products with many rows of input in AMX's tiles of bfloat16, summed in float32.
//
// x and the weights are split into three bfloat16 parts each, which have the bits of float32. Six of
// the nine products of parts give what float32 would; the other three are smaller than its rounding.
// Weights that are bfloat16 have one part, which takes three products. So have the whole numbers of
// affine matrices: these are multiplied, and the sums of each group scaled in float32. As in
// many_rows.h, it is x that is packed transposed: each row of a tile holds pairs of columns of x for 16
// rows of x.
#include "amx_pack.h"
#include "amx_sums.h"
#include "amx_tiles.h"
#include "bf16_parts.h"
#include "kernels.h"
#include "many_rows.h"

namespace g4 {
namespace amx {
namespace {

/// Columns of a block, so that a panel of x stays in the first cache.
constexpr int64_t columns_of_block = 256;
static_assert(columns_of_block <= most_unpacked);

/// Rows of weights that the results of a narrow panel are computed for at once.
constexpr int64_t outputs_of_step = 4 * tile_rows;

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

/// Where the results of rows `n` and on of the weights and rows `row` and on of x belong.
Place place_in(const Block& block, int64_t n, int64_t row, bool wide) {
  const int64_t stride = block.sums_stride, down = tile_rows * stride;
  float* start = block.sums + n * stride + row;
  return wide ? Place{start, stride, lanes, down, down + lanes}
              : Place{start, stride, down, 2 * down, 3 * down};
}

/// All results of a panel of x, of two tiles if it is `wide` or else of one, for the first or a later block of columns.
template <int x_parts, int weight_parts>
inline void multiply_panel_tiles(
    const Block& block, const uint8_t* x, int64_t row, bool wide, bool first, Sums& sums) {
  const int64_t step = block.tiles * weight_parts * tile_bytes;
  for (int64_t n = 0; n < block.outputs; n += (wide ? 2 : 4) * tile_rows) {
    const Place place = place_in(block, n, row, wide);
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
  const int64_t step = block.tiles * tile_bytes, x_step = (wide ? 2 : 1) * packed_step<x_parts>;
  const int64_t all_rows = round_up(block.outputs, outputs_of_step);
  for (int64_t n = 0; n < block.outputs; n += (wide ? 2 : 4) * tile_rows) {
    const Place place = place_in(block, n, row, wide);
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

/// All of a product: `unpack_columns(k, depth)` unpacks a block of weights, and
/// `multiply(x, row, wide, first)` multiplies it with the panel of x that begins with that row.
template <int x_parts, class Unpack, class Multiply>
inline void for_blocks(
    const Weight& weight, const uint8_t* packed, int64_t rows, Block& block, Sums& sums,
    const Unpack& unpack_columns, const Multiply& multiply) {
  const int64_t columns = weight.columns;
  configure_tiles();
  for (int64_t k = 0; k < columns; k += columns_of_block) {
    const int64_t depth = smaller(columns_of_block, columns - k);
    block.tiles = ceil_div(depth, tile_columns);
    unpack_columns(k, depth);
    memory_barrier();
    for (int64_t i = 0; i < rows; i += rows_of_panel) {
      const bool wide = rows - i > tile_rows;
      const uint8_t* x = packed + packed_bytes_in<x_parts>(i, columns) +
          k / tile_columns * (wide ? 2 : 1) * packed_step<x_parts>;
      multiply(x, i, wide, k == 0);
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

void try_amx() {
  amx::configure_tiles();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_dpbf16ps(0, 1, 2);
  _tile_dpbusd(0, 1, 2);
  _tile_release();
}

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
