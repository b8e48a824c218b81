// AMX's tiles: 16 rows of 64 bytes, which hold 32 columns of bfloat16 or 16 sums of float32.
#pragma once

#include <immintrin.h>

#include "bf16_parts.h"
#include "simd.h"

namespace g4::G4_SET {

inline constexpr int64_t tile_rows = 16;     // of x, or of weights
inline constexpr int64_t tile_columns = 32;  // of both

/// What the processor reads to know the tiles' sizes.
struct alignas(64) TileConfig {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

/// Memory that the compiler does not know the tiles' instructions to read or write is up to date.
inline void memory_barrier() { __asm__ volatile("" : : : "memory"); }

/// Make all tiles as large as they can be.
inline void configure_tiles() {
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

/// Where the four tiles of results belong: the others are so many floats after the first.
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

}  // namespace g4::G4_SET
