// Few rows of input times packed numbers of 4 or 8 bits, in AMX's tiles of whole numbers.
//
// As in few_rows_vnni.cpp the input is written as whole numbers of 24 bits, and these as three signed
// bytes each. The bytes of a row and digit are a row of a tile: one instruction multiplies up to five
// rows of input with 64 weights of 16 rows. What takes time is to read and to unpack the weights, which
// is done once for all five. Sums of a group are exact, and scaled and added in float32. A row's result
// does not depend on the other rows of input.
#include "amx_tiles.h"
#include "kernels.h"
#include "scales.h"
#include "sizes.h"
#include "transpose.h"

namespace g4 {
namespace amx {
namespace {

constexpr int64_t tile_depth = 64;  // numbers of a row of weights in a tile
constexpr int64_t tile_size = 1024;
constexpr int digits = 3;
constexpr int64_t panel_rows = 5;  // of input, whose digits a tile has room for
static_assert(panel_rows * digits <= lanes);

/// Groups whose scales are widened at a time.
constexpr int64_t group_chunk = 64;

/// Tiles of weights that are unpacked before they are needed, those whose results are added later, and
/// those that there is room for: what is stored must have arrived in memory before a tile is loaded.
constexpr int64_t ahead = 2, behind = 1, kept = 4;

/// Three digits from -128 to 127 give a little more than this.
constexpr float most = 8355000;

/// Bytes of a tile of input, with the sums of its rows.
constexpr int64_t packed_tile(int64_t rows) { return 64 * digits * rows + 64; }

/// Where the parts of `rows` rows of input lie: their factors, the sums of their groups, and tiles
/// whose rows are digits, the highest first, each tile with the sums of its rows after it.
struct Panel {
  int64_t groups, tiles, tile_bytes, sums_at, tiles_at, bytes;

  Panel(const Weight& weight, int64_t rows)
      : groups(round_up(weight.columns / weight.group, lanes)),
        tiles(weight.columns / tile_depth),
        tile_bytes(packed_tile(rows)),
        sums_at(64),
        tiles_at(sums_at + panel_rows * groups * 4),
        bytes(tiles_at + tiles * tile_bytes) {}
};

/// What the numbers of a row are divided by; NaN where one is infinite or NaN.
float factor_of(const float* x, int64_t columns) {
  Vec top = {}, invalid = {};
  for (int64_t k = 0; k < columns; k += lanes) {
    const Vec numbers = load(x + k);
    top = max(top, max(numbers, -numbers));
    invalid += numbers * 0.0f;
  }
  // Below the limit the factor would be subnormal.
  const float largest_of_all = largest(top);
  return (largest_of_all > 0x1p-100f ? largest_of_all : 0x1p-100f) / most + sum(invalid);
}

/// The digits of 16 numbers to three rows of a tile.
void store_digits(__m512 numbers, __m512 scale, uint8_t* to) {
  const __m512i centers = _mm512_set1_epi32(0x808080);
  const __m512i by_digit = _mm512_broadcast_i32x4(
      _mm_setr_epi8(2, 6, 10, 14, 1, 5, 9, 13, 0, 4, 8, 12, -1, -1, -1, -1));
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  // Each byte holds its digit plus 128, until that is taken away without a carry.
  const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(numbers, scale));
  const __m512i moved = _mm512_xor_si512(_mm512_add_epi32(whole, centers), centers);
  const __m512i parts =
      _mm512_permutexvar_epi32(in_order, _mm512_shuffle_epi8(moved, by_digit));
  _mm_storeu_si128((__m128i*)to, _mm512_extracti32x4_epi32(parts, 0));
  _mm_storeu_si128((__m128i*)(to + 64), _mm512_extracti32x4_epi32(parts, 1));
  _mm_storeu_si128((__m128i*)(to + 128), _mm512_extracti32x4_epi32(parts, 2));
}

/// One row's digits of 64 numbers, in the order in which `unpack` gives the weights.
template <int bits>
void lay_out(const float* x, float factor, uint8_t* to) {
  const __m512 scale = _mm512_set1_ps(1 / factor);
  if constexpr (bits == 8) {
    for (int i = 0; i < 4; i++) store_digits(_mm512_loadu_ps(x + i * lanes), scale, to + 16 * i);
  } else {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int i = 0; i < 2; i++) {
      const __m512 low = _mm512_loadu_ps(x + 2 * i * lanes);
      const __m512 high = _mm512_loadu_ps(x + (2 * i + 1) * lanes);
      store_digits(_mm512_permutex2var_ps(low, even, high), scale, to + 16 * i);
      store_digits(_mm512_permutex2var_ps(low, odd, high), scale, to + 16 * (i + 2));
    }
  }
}

/// The sum of the 64 digits of a row of a tile.
int32_t sum_of_digits(const uint8_t* row) {
  const __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi8(1), _mm512_loadu_si512(row));
  return _mm512_reduce_add_epi32(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

template <int bits>
void pack_panel(const Weight& weight, const float* const* x, int64_t count, uint8_t* out) {
  const Panel panel(weight, count);
  std::memset(out, 0, size_t(panel.tiles_at));
  for (int64_t i = 0; i < count; i++) {
    const float factor = factor_of(x[i], weight.columns);
    ((float*)out)[i] = factor;
    float* sums = (float*)(out + panel.sums_at) + i * panel.groups;
    for (int64_t k = 0; k < weight.columns; k += weight.group) {
      Vec total = {};
      for (int j = 0; j < weight.group; j += lanes) total += load(x[i] + k + j);
      *sums++ = sum(total) / factor;
    }
    uint8_t* to = out + panel.tiles_at + 64 * digits * i;
    for (int64_t k = 0; k < weight.columns; k += tile_depth, to += panel.tile_bytes) {
      lay_out<bits>(x[i] + k, factor, to);
      int32_t* digit_sums = (int32_t*)(to + 64 * digits * (count - i));
      for (int d = 0; d < digits; d++) {
        digit_sums[digits * i + d] = (1 << (bits - 1)) * sum_of_digits(to + 64 * d);
      }
    }
  }
}

/// A tile's 64 numbers of 16 rows of weights, four consecutive ones of each in a line.
template <int bits>
G4_INLINE void unpack(const uint8_t* const* from, int64_t start, uint8_t* to) {
  if constexpr (bits == 8) {
    Vec lines[lanes];
#pragma GCC unroll 16
    for (int r = 0; r < tile_rows; r++) lines[r] = load_as<Vec>(from[r] + start);
    transpose(lines);
#pragma GCC unroll 16
    for (int j = 0; j < tile_rows; j++) store((float*)(to + 64 * j), lines[j]);
    return;
  }
  // Words of eight numbers; those of even positions make the first eight lines.
  __m512i words[2][2][2], pairs[2][2][2], fours[2][2][2];
#pragma GCC unroll 8
  for (int v = 0; v < 8; v++) {
    const uint8_t* const* rows = from + v / 4 * 8 + v % 4;
    const __m256i first = _mm256_loadu_si256((const __m256i*)(rows[0] + start));
    const __m256i second = _mm256_loadu_si256((const __m256i*)(rows[4] + start));
    words[v / 4][v / 2 % 2][v % 2] =
        _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  }
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
    const __m512i a = words[v / 2][v % 2][0], b = words[v / 2][v % 2][1];
    pairs[v / 2][v % 2][0] = _mm512_unpacklo_epi32(a, b);
    pairs[v / 2][v % 2][1] = _mm512_unpackhi_epi32(a, b);
  }
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
    const __m512i a = pairs[v / 2][0][v % 2], b = pairs[v / 2][1][v % 2];
    fours[v / 2][v % 2][0] = _mm512_unpacklo_epi64(a, b);
    fours[v / 2][v % 2][1] = _mm512_unpackhi_epi64(a, b);
  }
  const __m512i low = _mm512_set1_epi8(15);
  const auto store_lines = [&](int j, __m512i line) __attribute__((always_inline)) {
    _mm512_store_si512(to + 64 * j, _mm512_and_si512(line, low));
    _mm512_store_si512(
        to + 64 * (j + 8), _mm512_and_si512(_mm512_srli_epi16(line, 4), low));
  };
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const __m512i a = fours[0][j / 2][j % 2], b = fours[1][j / 2][j % 2];
    store_lines(j, _mm512_shuffle_i32x4(a, b, 0x88));
    store_lines(j + 4, _mm512_shuffle_i32x4(a, b, 0xdd));
  }
}

/// Tiles of as many rows as there are digits of input, but for those of the weights.
inline void configure(int64_t rows) {
  TileConfig config = {};
  config.palette = 1;
  for (int i = 0; i < 6; i++) {
    config.bytes[i] = 64;
    config.rows[i] = uint8_t(i < 4 ? digits * rows : tile_rows);
  }
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/// 16 rows of weights, the last of which may be the same, times `count` rows of input.
template <int bits, int count>
class Block {
 public:
  Block(const Weight& weight, int64_t n, int64_t first, int64_t last)
      : weight_(weight), groups_(weight.columns / weight.group), tiles_(weight.columns / tile_depth) {
    const int64_t bytes = weight.row_bytes();
    for (int64_t r = 0; r < tile_rows; r++) {
      rows_[r] = smaller(n + r, last - 1);
      at_[r] = weight.data + rows_[r] * bytes;
    }
    first_ = n == first;
    const int64_t next = smaller(n + tile_rows, weight.rows - 1);
    next_ = weight.data + next * bytes;
    const int64_t size = weight.scale_type == Float::f32 ? 4 : 2;
    factor_bytes_ = tile_rows * size * tile_depth / weight.group;
    next_scales_ = weight.scales + next * groups_ * size;
    next_biases_ = weight.biases + next * groups_ * size;
  }

  void multiply(const uint8_t* packed, float* const* y, int64_t n, int64_t rows) {
    const Panel panel(weight_, count);
    const float *factors = (const float*)packed, *sums = (const float*)(packed + panel.sums_at);
    const int shift = weight_.group == tile_depth ? 0 : 1;
    Vec total[count][digits] = {}, others[count] = {};
    for (int64_t first = 0; first < groups_; first += group_chunk) {
      const int64_t chunk = smaller(group_chunk, groups_ - first);
      widen(weight_.scales, first, chunk, scales_);
      widen(weight_.biases, first, chunk, biases_);
      for (int64_t g = 0; g < chunk; g++) {
        const Vec bias = biases_[g] + scales_[g] * float(1 << (bits - 1));
        for (int i = 0; i < count; i++) {
          others[i] += bias * fill(sums[i * panel.groups + first + g]);
        }
      }
      multiply_tiles(
          packed + panel.tiles_at, first << shift, (first + chunk) << shift, shift, total);
    }
    for (int i = 0; i < count; i++) {
      const Vec sum = total[i][0] * 65536.0f + (total[i][1] * 256.0f + total[i][2]);
      store_some(y[i] + n, (sum + others[i]) * factors[i], rows);
    }
  }

 private:
  /// Scales or biases of a chunk of groups, those of 16 rows in a vector.
  void widen(const uint8_t* values, int64_t first, int64_t chunk, Vec* out) {
    for (int64_t g = 0; g < chunk; g += lanes, out += lanes) {
      Vec square[lanes];
#pragma GCC unroll 16
      for (int r = 0; r < tile_rows; r++) {
        square[r] = affine_parameters(
            weight_.scale_type, values, rows_[r] * groups_ + first + g, chunk - g);
      }
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; i++) out[i] = square[i];
    }
  }

  G4_INLINE void unpack_tile(int64_t tile) {
    const int64_t start = tile * tile_depth * bits / 8;
    if (first_ && (bits == 8 || tile % 2 == 0)) {
#pragma GCC unroll 16
      for (int r = 0; r < tile_rows; r++) __builtin_prefetch(at_[r] + start + 1024);
    }
    // The next block in the order of memory, to the second cache.
    constexpr int block_bytes = tile_rows * tile_depth * bits / 8;
#pragma GCC unroll 16
    for (int i = 0; i < block_bytes; i += 64) {
      __builtin_prefetch(next_ + tile * block_bytes + i, 0, 2);
    }
    if (tile % 2 == 0) {
      __builtin_prefetch(next_scales_ + tile * factor_bytes_, 0, 2);
      __builtin_prefetch(next_biases_ + tile * factor_bytes_, 0, 2);
    }
    unpack<bits>(at_, start, weights_[tile % kept]);
  }

  /// Tiles [first, last), of which 1 << shift are a group; `first` is that of a chunk of groups.
  void multiply_tiles(
      const uint8_t* x, int64_t first, int64_t last, int shift, Vec (&result)[count][digits]) {
    constexpr int64_t tile_bytes = packed_tile(count);
    Vec total[count][digits];
    for (int i = 0; i < count; i++) {
      for (int d = 0; d < digits; d++) total[i][d] = result[i][d];
    }
    if (first == 0) {
      for (int64_t tile = 0; tile < smaller(ahead, tiles_); tile++) unpack_tile(tile);
    }
    const auto add = [&](int64_t tile) __attribute__((always_inline)) {
      const int32_t* values = values_[tile % kept];
      const int32_t* middle = (const int32_t*)(x + tile * tile_bytes + 64 * digits * count);
      const Vec scale = scales_[(tile - first) >> shift];
#pragma GCC unroll 5
      for (int i = 0; i < count; i++) {
#pragma GCC unroll 3
        for (int d = 0; d < digits; d++, values += lanes) {
          const __m512i value = _mm512_sub_epi32(
              _mm512_load_si512(values), _mm512_set1_epi32(middle[digits * i + d]));
          total[i][d] += scale * (Vec)_mm512_cvtepi32_ps(value);
        }
      }
    };
    int64_t tile = first;
    const auto finish = [&]() __attribute__((always_inline)) {
      memory_barrier();
      if (tile >= first + behind) add(tile - behind);
      tile++;
    };
    // Neighbors have registers of their own, whose numbers are part of the instructions.
    while (tile < last) {
      memory_barrier();
      _tile_zero(0);
      _tile_loadd(2, x + tile * tile_bytes, 64);
      _tile_loadd(4, weights_[tile % kept], 64);
      _tile_dpbsud(0, 2, 4);
      if (tile + ahead < tiles_) unpack_tile(tile + ahead);
      _tile_stored(0, values_[tile % kept], 64);
      finish();
      if (tile == last) break;
      memory_barrier();
      _tile_zero(1);
      _tile_loadd(3, x + tile * tile_bytes, 64);
      _tile_loadd(5, weights_[tile % kept], 64);
      _tile_dpbsud(1, 3, 5);
      if (tile + ahead < tiles_) unpack_tile(tile + ahead);
      _tile_stored(1, values_[tile % kept], 64);
      finish();
    }
    for (tile = larger(first, tile - behind); tile < last; tile++) add(tile);
    for (int i = 0; i < count; i++) {
      for (int d = 0; d < digits; d++) result[i][d] = total[i][d];
    }
  }

  const Weight& weight_;
  const int64_t groups_, tiles_;
  bool first_;  // of a part: nothing before has asked for it
  const uint8_t *next_, *next_scales_, *next_biases_;  // of the next block
  int64_t factor_bytes_;                               // of a block, for each tile
  int64_t rows_[tile_rows];
  const uint8_t* at_[tile_rows];
  alignas(64) uint8_t weights_[kept][tile_size];
  alignas(64) int32_t values_[kept][digits * count * lanes];
  Vec scales_[group_chunk], biases_[group_chunk];
};

template <int bits, int count>
void multiply_panel(
    const Weight& weight, const uint8_t* packed, float* const* y, int64_t first, int64_t last) {
  configure(count);
  for (int64_t n = first; n < last; n += tile_rows) {
    Block<bits, count>(weight, n, first, last).multiply(packed, y, n, smaller(tile_rows, last - n));
  }
  _tile_release();
}

template <int bits>
void multiply_with(
    const Weight& weight, const uint8_t* packed, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  constexpr decltype(&multiply_panel<bits, 1>) panels[] = {
      multiply_panel<bits, 1>, multiply_panel<bits, 2>, multiply_panel<bits, 3>,
      multiply_panel<bits, 4>, multiply_panel<bits, 5>};
  // More rows than a panel has take turns while a few rows of weights are near.
  const int64_t step = count > panel_rows ? 4 * tile_rows : last - first;
  for (int64_t n = first; n < last; n += step) {
    const uint8_t* at = packed;
    for (int64_t i = 0; i < count; i += panel_rows) {
      const int64_t rows = smaller(panel_rows, count - i);
      panels[rows - 1](weight, at, y + i, n, smaller(n + step, last));
      at += Panel(weight, rows).bytes;
    }
  }
}

bool takes(const Weight& weight) {
  return weight.kind == Kind::affine && (weight.bits == 4 || weight.bits == 8) &&
      (weight.group == 64 || weight.group == 128);
}

int64_t packed_bytes(const Weight& weight, int64_t count) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < count; i += panel_rows) {
    bytes += Panel(weight, smaller(panel_rows, count - i)).bytes;
  }
  return bytes;
}

void pack(const Weight& weight, const float* const* x, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; i += panel_rows) {
    const int64_t rows = smaller(panel_rows, count - i);
    (weight.bits == 4 ? pack_panel<4> : pack_panel<8>)(weight, x + i, rows, out);
    out += Panel(weight, rows).bytes;
  }
}

void multiply(
    const Weight& weight, const uint8_t* packed, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  (weight.bits == 4 ? multiply_with<4> : multiply_with<8>)(weight, packed, count, y, first, last);
}

}  // namespace
}  // namespace amx

const Together amx_few_rows = {
    .most = 25,
    .takes = amx::takes,
    .packed_bytes = amx::packed_bytes,
    .pack = amx::pack,
    .multiply = amx::multiply,
};

}  // namespace g4
