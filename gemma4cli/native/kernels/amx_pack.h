// Rows of input as tiles of bfloat16 parts for AMX.
#pragma once

#include "amx_tiles.h"
#include "bf16_parts.h"
#include "kernels.h"
#include "many_rows.h"
#include "partial.h"
#include "transpose.h"

namespace g4::G4_SET {

/// Rows of x that are packed together, in two tiles side by side; one if there are no more.
inline constexpr int64_t rows_of_panel = 2 * tile_rows;

template <int parts>
int64_t packed_bytes_in(int64_t rows, int64_t columns) {
  return ceil_div(rows, tile_rows) * ceil_div(columns, tile_columns) * packed_step<parts>;
}

/// A panel: for each 32 columns the tiles of the high parts, those of the next parts, then the sums.
template <int parts>
void pack_in(
    const float* x, int64_t rows, int64_t columns, Limits limits, int64_t panel, int64_t first,
    int64_t last, uint8_t* packed) {
  const int64_t start = panel * rows_of_panel, count = smaller(rows_of_panel, rows - start);
  const int64_t tiles = ceil_div(count, tile_rows);
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

}  // namespace g4::G4_SET
