// Scales and biases of groups to float32.
#pragma once

#include "kernels.h"
#include "partial.h"
#include "simd.h"
#include "unpack.h"

namespace g4::G4_SET {

/// Scales or biases of groups [index, index + count), or as many as there are lanes.
inline Vec affine_parameters(Float type, const uint8_t* values, int64_t index, int64_t count) {
  if (type == Float::f32) return load_some<Vec>(values + 4 * index, count);
  const HVec halves = load_some<HVec>(values + 2 * index, count);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&halves);
  return type == Float::f16 ? load_f16(bytes) : load_bf16(bytes);
}

inline Vec e8m0_scales(const uint8_t* values, int64_t index, int64_t count) {
  const UVec bytes = widen(load_some<BVec>(values + index, count));
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
