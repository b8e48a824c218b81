// Scales and biases of groups to float32.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "unpack.h"

namespace g4::G4_SET {

/// `count` numbers of `size` bytes, at most as many as there are lanes; the other lanes are zero.
/// Reads nothing but these numbers.
template <class Lanes>
inline Lanes load_some(const uint8_t* at, int64_t count) {
  constexpr int size = sizeof(Lanes) / lanes;
  if (count >= lanes) return load_as<Lanes>(at);
#if defined(G4_SET_avx512)
  const uint32_t some = (1u << count) - 1;
  if constexpr (size == 4) return (Lanes)_mm512_maskz_loadu_epi32(__mmask16(some), at);
  if constexpr (size == 2) return (Lanes)_mm256_maskz_loadu_epi16(__mmask16(some), at);
  if constexpr (size == 1) return (Lanes)_mm_maskz_loadu_epi8(__mmask16(some), at);
#endif
  uint8_t bytes[sizeof(Lanes)] = {};
  std::memcpy(bytes, at, size_t(count * size));
  return load_as<Lanes>(bytes);
}

inline Vec affine_parameters(Float type, const uint8_t* values, int64_t index, int64_t count) {
  if (type == Float::f32) return load_some<Vec>(values + 4 * index, count);
  const HVec halves = load_some<HVec>(values + 2 * index, count);
  return type == Float::f16 ? load_f16((const uint8_t*)&halves) : load_bf16((const uint8_t*)&halves);
}

inline Vec e8m0_scales(const uint8_t* values, int64_t index, int64_t count) {
  const UVec bytes = __builtin_convertvector(load_some<BVec>(values + index, count), UVec);
  return (Vec)(bytes == 0 ? UVec{} + 0x400000u : bytes << 23);
}

inline Vec e4m3_scales(const uint8_t* values, int64_t index, int64_t count) {
  return e4m3(load_some<BVec>(values + index, count));
}

/// The scales of a matrix's groups [index, index + count), counted over all rows; those beyond
/// `lanes` are left out, lanes beyond `count` anything finite.
inline Vec scales_at(const Weight& weight, int64_t index, int64_t count) {
  switch (weight.kind) {
    case Kind::affine:
      return affine_parameters(weight.scale_type, weight.scales, index, count);
    case Kind::nvfp4:
      return e4m3_scales(weight.scales, index, count);
    default:
      return e8m0_scales(weight.scales, index, count);
  }
}

}  // namespace g4::G4_SET
