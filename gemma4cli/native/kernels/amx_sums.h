// Results of AMX's tiles, added up in float32.
#pragma once

#include "amx_tiles.h"
#include "simd.h"

namespace g4::G4_SET {

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

}  // namespace g4::G4_SET
