// Numbers as sums of bfloat16 parts, for the units that multiply these alone.
//
// The first part is the number rounded, the second what is left, rounded, and so on: three parts have
// the 24 bits of float32. Needs AVX-512 with its conversions to bfloat16.
#pragma once

#include <immintrin.h>

#include "kernels.h"
#include "simd.h"
#include "unpack.h"

namespace g4::G4_SET {

/// Bytes of 16 rows of 32 parts.
inline constexpr int64_t tile_bytes = 1024;

/// Numbers of a row of weights that are unpacked at a time, at most.
inline constexpr int64_t most_unpacked = 512;

/// 32 numbers in each part, in the order of the numbers.
struct Parts {
  __m512i high;
  __m512i middle;
  __m512i low;
};

inline __m512i rounded(__m512 first, __m512 second) {
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}

/// Leave what 32 numbers have beyond a part of theirs.
inline void subtract(__m512i part, __m512& first, __m512& second) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(part));
  const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(part, 1));
  first = _mm512_sub_ps(first, (__m512)_mm512_slli_epi32(low, 16));
  second = _mm512_sub_ps(second, (__m512)_mm512_slli_epi32(high, 16));
}

inline Parts parts_of(__m512 first, __m512 second) {
  Parts parts;
  parts.high = rounded(first, second);
  subtract(parts.high, first, second);
  parts.middle = rounded(first, second);
  subtract(parts.middle, first, second);
  parts.low = rounded(first, second);
  return parts;
}

/// The parts of 16 values, twice, for lookups of 32 numbers whose fifth bit counts for nothing.
inline Parts table_of(__m512 values) {
  return parts_of(values, values);
}

/// `affine_parameter` in all lanes; one of bfloat16 comes there straight from memory.
inline __m512 filled_parameter(Float type, const uint8_t* values, int64_t index) {
  if (type != Float::bf16) return _mm512_set1_ps(affine_parameter(type, values, index));
  return (__m512)_mm512_slli_epi32(_mm512_set1_epi16(load_as<int16_t>(values + 2 * index)), 16);
}

/// Each of 32 packed numbers of 4 bits in the low bits of 16; what is above is undefined.
inline __m512i nibbles(const uint8_t* at) {
  const __m512i bytes = _mm512_cvtepu8_epi32(load_as<__m128i>(at));
  return _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
}

/// Whether all numbers of a matrix are exact in one part: they are bfloat16, or products of E2M1 or
/// E4M3 numbers and their scales, which have at most 6 bits.
inline bool one_part(const Weight& weight) {
  return weight.kind != Kind::f32 && weight.kind != Kind::f16 && weight.kind != Kind::affine;
}

/// Rows of 64 bytes of one matrix tile after the other, of a row of weights.
///
/// `stride` is the distance of one tile to the next, in bytes; the tiles of the other parts, if
/// `all_parts` are stored, follow that of the first.
struct TileRow {
  uint8_t* at;
  int64_t stride;
  bool all_parts;

  void store(int64_t number, __m512i high) const {
    _mm512_storeu_si512(at + number * stride, high);
  }

  void store(int64_t number, const Parts& parts) const {
    store(number, parts.high);
    if (!all_parts) return;
    _mm512_storeu_si512(at + number * stride + tile_bytes, parts.middle);
    _mm512_storeu_si512(at + number * stride + 2 * tile_bytes, parts.low);
  }
};

inline void unpack_bf16_tiles(const uint8_t* data, int64_t count, const TileRow& out) {
  for (int64_t k = 0; k < count; k += 32) {
    const int64_t left = smaller(32, count - k);
    const __mmask32 some = __mmask32((uint64_t(1) << left) - 1);
    out.store(k / 32, _mm512_maskz_loadu_epi16(some, data + 2 * k));
  }
}

inline void unpack_affine4_tiles(
    const Weight& weight, int64_t row, int64_t first, int64_t count, const TileRow& out) {
  const uint8_t* data = weight.data + row * weight.row_bytes();
  const __m512 number = (__m512)lane_numbers();
  for_groups(weight, row, first, count, [&](int64_t k, int64_t size, int64_t group) {
    const __m512 scale = filled_parameter(weight.scale_type, weight.scales, group);
    const __m512 bias = filled_parameter(weight.scale_type, weight.biases, group);
    const Parts table = table_of(_mm512_fmadd_ps(number, scale, bias));
    for (int64_t i = 0; i < size; i += 32) {
      const __m512i index = nibbles(data + (k + i) / 2);
      const Parts parts = {
          _mm512_permutexvar_epi16(index, table.high),
          _mm512_permutexvar_epi16(index, table.middle),
          _mm512_permutexvar_epi16(index, table.low)};
      out.store((k - first + i) / 32, parts);
    }
  });
}

inline void unpack_mxfp4_tiles(
    const Weight& weight, int64_t row, int64_t first, int64_t count, const TileRow& out) {
  const uint8_t* data = weight.data + row * weight.row_bytes();
  for_groups(weight, row, first, count, [&](int64_t k, int64_t size, int64_t group) {
    const Vec values = load(e2m1) * e8m0(weight.scales[group]);
    const Parts table = table_of((__m512)values);
    for (int64_t i = 0; i < size; i += 32) {
      const __m512i index = nibbles(data + (k + i) / 2);
      out.store((k - first + i) / 32, _mm512_permutexvar_epi16(index, table.high));
    }
  });
}

/// 32 packed numbers, less the middle of their range, which are exact in one part.
template <int bits>
inline __m512i whole_numbers(const uint8_t* at) {
  const Vec middle = fill(float(1 << (bits - 1)));
  const IVec mask = IVec{} + ((1 << bits) - 1);
  const Chunk first = spread<bits>(at), second = spread<bits>(at + lanes * bits / 8);
  const Vec left = __builtin_convertvector((IVec)first.part[0] & mask, Vec) - middle;
  const Vec right = __builtin_convertvector((IVec)second.part[0] & mask, Vec) - middle;
  return rounded((__m512)left, (__m512)right);
}

template <>
inline __m512i whole_numbers<4>(const uint8_t* at) {
  const Vec values = lane_numbers() - 8.f;
  return _mm512_permutexvar_epi16(nibbles(at), rounded((__m512)values, (__m512)values));
}

template <int bits>
inline void unpack_whole_numbers(const uint8_t* data, int64_t count, const TileRow& out) {
  for (int64_t k = 0; k < count; k += 32, data += 4 * bits) {
    out.store(k / 32, whole_numbers<bits>(data));
  }
}

/// The whole numbers of an affine matrix's row, less the middle of their range.
inline void unpack_whole_numbers(
    const Weight& weight, int64_t row, int64_t first, int64_t count, const TileRow& out) {
  const uint8_t* data = weight.data + row * weight.row_bytes() + first * weight.bits / 8;
  switch (weight.bits) {
    case 2:
      return unpack_whole_numbers<2>(data, count, out);
    case 3:
      return unpack_whole_numbers<3>(data, count, out);
    case 4:
      return unpack_whole_numbers<4>(data, count, out);
    case 5:
      return unpack_whole_numbers<5>(data, count, out);
    case 6:
      return unpack_whole_numbers<6>(data, count, out);
    default:
      return unpack_whole_numbers<8>(data, count, out);
  }
}

/// Numbers [first, first + count) of a row of weights, at most `most_unpacked`; the last tile's row is
/// filled up with 0.
inline void unpack_tiles(
    const Weight& weight, int64_t row, int64_t first, int64_t count, const TileRow& out) {
  if (weight.kind == Kind::bf16) {
    return unpack_bf16_tiles(weight.data + row * weight.row_bytes() + 2 * first, count, out);
  }
  if (weight.kind == Kind::affine && weight.bits == 4) {
    return unpack_affine4_tiles(weight, row, first, count, out);
  }
  if (weight.kind == Kind::mxfp4) return unpack_mxfp4_tiles(weight, row, first, count, out);
  float values[most_unpacked + 32];
  unpack(weight, row, first, count, values);
  store(values + count, Vec{});
  store(values + count + lanes, Vec{});
  for (int64_t k = 0; k < count; k += 32) {
    out.store(k / 32, parts_of((__m512)load(values + k), (__m512)load(values + k + lanes)));
  }
}

}  // namespace g4::G4_SET
