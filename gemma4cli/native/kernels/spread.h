// Packed numbers of 2 to 8 bits to the lanes of vectors, and from there to float32.
#pragma once

#include "simd.h"

namespace g4::G4_SET {

/// Packed numbers are taken in chunks that fill whole bytes and whole vectors.
inline constexpr int chunk = lanes < 8 ? 8 : lanes;

/// The numbers of a chunk, each in the low bits of a lane. What is above fewer than 8 is undefined.
struct Chunk {
  UVec part[chunk / lanes];
};

inline UVec spread_over(uint32_t value) { return UVec{} + value; }

/// The lanes' indexes 0, 1, 2 ...
inline UVec lane_indexes() {
  UVec index = {};
  for (int i = 0; i < lanes; i++) index[i] = uint32_t(i);
  return index;
}

/// The same as floating-point numbers.
inline Vec lane_numbers() { return __builtin_convertvector((IVec)lane_indexes(), Vec); }

/// `bytes` bytes as a number, with nothing beyond them read. Composed of whole loads: a number that
/// is copied to memory in parts can only be loaded from there when all parts have arrived.
template <int bytes>
inline uint64_t load_bytes(const uint8_t* at) {
  static_assert((2 <= bytes && bytes <= 6) || bytes == 8);
  if constexpr (bytes == 2) return load_as<uint16_t>(at);
  if constexpr (bytes == 3) return load_as<uint16_t>(at) | uint64_t(at[2]) << 16;
  if constexpr (bytes == 4) return load_as<uint32_t>(at);
  if constexpr (bytes == 5) return load_as<uint32_t>(at) | uint64_t(at[4]) << 32;
  if constexpr (bytes == 6) {
    return load_as<uint32_t>(at) | uint64_t(load_as<uint16_t>(at + 4)) << 32;
  }
  if constexpr (bytes == 8) return load_as<uint64_t>(at);
}

// Compilers widen bytes to vectors of 32-bit numbers one by one unless they are shown how.
#if defined(G4_SET_avx512)
inline UVec widen(BVec bytes) { return (UVec)_mm512_cvtepu8_epi32((__m128i)bytes); }
inline HVec widen_half(BVec bytes) { return (HVec)_mm256_cvtepu8_epi16((__m128i)bytes); }
#elif defined(G4_SET_avx2)
inline UVec widen(BVec bytes) {
  return (UVec)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(load_as<int64_t>(&bytes)));
}
inline HVec widen_half(BVec bytes) {
  return (HVec)_mm_cvtepu8_epi16(_mm_cvtsi64_si128(load_as<int64_t>(&bytes)));
}
#else
inline UVec widen(BVec bytes) { return __builtin_convertvector(bytes, UVec); }
inline HVec widen_half(BVec bytes) { return __builtin_convertvector(bytes, HVec); }
#endif

#if defined(G4_SET_avx512)
template <int bits>
inline Chunk spread(const uint8_t* at) {
  if constexpr (bits == 8) {
    return {widen(load_as<BVec>(at))};
  } else if constexpr (bits == 2) {
    return {spread_over(load_as<uint32_t>(at)) >> (lane_indexes() * 2)};
  } else if constexpr (bits == 4) {
    const __m512i low = _mm512_set1_epi32(load_as<int32_t>(at));
    const __m512i both = _mm512_mask_set1_epi32(low, 0xff00, load_as<int32_t>(at + 4));
    return {(UVec)both >> ((lane_indexes() & 7) * 4)};
  } else {
    // Each quarter of the vector takes from the same bytes the two that hold each of its numbers.
    const __m128i bytes = _mm_maskz_loadu_epi8(__mmask16((1u << 2 * bits) - 1), at);
    const UVec bit = lane_indexes() * bits, byte = bit >> 3;
    const UVec places = byte | ((byte + 1) << 8) | 0x80800000u;
    const __m512i pairs = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), (__m512i)places);
    return {(UVec)pairs >> (bit & 7)};
  }
}
#elif defined(G4_SET_avx2)
template <int bits>
inline Chunk spread(const uint8_t* at) {
  if constexpr (bits == 8) {
    return {widen(load_as<BVec>(at))};
  } else if constexpr (bits <= 4) {
    return {spread_over(uint32_t(load_bytes<bits>(at))) >> (lane_indexes() * bits)};
  } else {
    const __m256i bytes = _mm256_set1_epi64x(int64_t(load_bytes<bits>(at)));
    const UVec bit = lane_indexes() * bits, byte = bit >> 3;
    const UVec places = byte | ((byte + 1) << 8) | 0x80800000u;
    return {(UVec)_mm256_shuffle_epi8(bytes, (__m256i)places) >> (bit & 7)};
  }
}
#else
template <int bits>
inline Chunk spread(const uint8_t* at) {
  if constexpr (bits == 8) return {widen(load_as<BVec>(at)), widen(load_as<BVec>(at + lanes))};
  const uint64_t value = load_bytes<bits>(at);
  const UVec shifts = lane_indexes() * bits;
  return {
      spread_over(uint32_t(value)) >> shifts, spread_over(uint32_t(value >> (4 * bits))) >> shifts};
}
#endif

/// The values scale * n + bias of numbers n of a few bits.
template <int bits>
class Affine {
 public:
  Affine(float scale, float bias) : scale_(fill(scale)), bias_(fill(bias)) {
#if defined(G4_SET_avx512)
    // The permutation looks at the low bits alone, so that numbers need no mask.
    const IVec lane = (IVec)lane_indexes() & ((1 << bits) - 1);
    low_ = __builtin_convertvector(lane, Vec) * scale_ + bias_;
    high_ = __builtin_convertvector(lane | 16, Vec) * scale_ + bias_;
#endif
  }

  Vec operator()(UVec number) const {
#if defined(G4_SET_avx512)
    if constexpr (bits <= 4) return (Vec)_mm512_permutexvar_ps((__m512i)number, (__m512)low_);
    if constexpr (bits == 5) {
      return (Vec)_mm512_permutex2var_ps((__m512)low_, (__m512i)number, (__m512)high_);
    }
#endif
    const IVec masked = (IVec)(number & ((1u << bits) - 1));
    return __builtin_convertvector(masked, Vec) * scale_ + bias_;
  }

 private:
  Vec scale_, bias_;
#if defined(G4_SET_avx512)
  Vec low_, high_;
#endif
};

/// The values of E2M1: a sign, 2 bits of exponent and 1 of mantissa.
inline constexpr float e2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};

/// E2M1 numbers times a scale: mxfp4 and nvfp4.
class E2m1 {
 public:
  explicit E2m1(float scale) : scale_(fill(scale)) {
#if defined(G4_SET_avx512) || defined(G4_SET_avx2)
    scale_ *= load(e2m1);
#endif
  }

  Vec operator()(UVec number) const {
#if defined(G4_SET_avx512)
    return (Vec)_mm512_permutexvar_ps((__m512i)number, (__m512)scale_);
#elif defined(G4_SET_avx2)
    const Vec magnitude = (Vec)_mm256_permutevar8x32_ps((__m256)scale_, (__m256i)number);
    return (Vec)((UVec)magnitude ^ ((number & 8) << 28));
#elif defined(G4_SET_plain)
    Vec value;
    for (int i = 0; i < lanes; i++) value[i] = e2m1[number[i] & 15];
    return value * scale_;
#else
    // A half float has the same fields, and subnormal numbers too; its bias is corrected.
    const HVec half =
        __builtin_convertvector(((number & 7) << 9) | ((number & 8) << 12), HVec);
    return load_f16(reinterpret_cast<const uint8_t*>(&half)) * 0x1p14f * scale_;
#endif
  }

 private:
  Vec scale_;
};

/// Numbers with 4 bits of exponent and 3 of mantissa, the values of mxfp8 and the scales of nvfp4.
inline Vec e4m3(const BVec& numbers) {
  // As half floats with the exponent's bias corrected by a product; there is no infinity.
  const HVec wide = widen_half(numbers);
  const HVec half = ((wide & 0x80) << 8) | ((wide & 0x7f) << 7);
  return load_f16(reinterpret_cast<const uint8_t*>(&half)) * 256.f;
}

inline float e4m3(uint8_t number) {
  const uint16_t half = uint16_t(((number & 0x80) << 8) | ((number & 0x7f) << 7));
  return f16(reinterpret_cast<const uint8_t*>(&half)) * 256.f;
}

/// A power of two, the scale of mxfp4 and mxfp8.
inline float e8m0(uint8_t value) {
  const uint32_t bits = value == 0 ? 0x400000u : uint32_t(value) << 23;
  return load_as<float>(&bits);
}

}  // namespace g4::G4_SET
