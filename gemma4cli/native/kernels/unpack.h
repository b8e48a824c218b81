// Stored numbers of a matrix to float32.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace g4::G4_SET {

inline float scalar(Float type, const uint8_t* values, int64_t index) {
  switch (type) {
    case Float::f32:
      return load_as<float>(values + 4 * index);
    case Float::f16:
      return f16(values + 2 * index);
    default:
      return bf16(values + 2 * index);
  }
}

/// The `bits` bits of a row from bit `at` on; rows end where their last number does.
inline uint32_t packed(const uint8_t* row, int64_t at, int bits) {
  const uint8_t* byte = row + at / 8;
  const int shift = int(at % 8);
  uint32_t value = byte[0];
  if (shift + bits > 8) value |= uint32_t(byte[1]) << 8;
  return (value >> shift) & ((1u << bits) - 1);
}

/// The values of E2M1, the four bits of mxfp4 and nvfp4.
inline constexpr float e2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};

/// A number with 4 bits of exponent and 3 of mantissa; nvfp4's scales and mxfp8's values.
inline float e4m3(uint8_t value) {
  // As a half float with the exponent's bias corrected by a product; there is no infinity.
  const uint16_t moved = uint16_t((value & 0x7f) << 7);
  const float magnitude = f16(reinterpret_cast<const uint8_t*>(&moved)) * 256.f;
  return value & 0x80 ? -magnitude : magnitude;
}

/// A power of two, the scale of mxfp4 and mxfp8.
inline float e8m0(uint8_t value) {
  const uint32_t bits = value == 0 ? 0x400000u : uint32_t(value) << 23;
  return load_as<float>(&bits);
}

inline void unpack(const Weight& weight, int64_t row, int64_t first, int64_t count, float* out) {
  const uint8_t* data = weight.data + row * weight.row_bytes();
  const int64_t groups = weight.quantized() ? weight.columns / weight.group : 0;
  for (int64_t k = first; k < first + count; k++, out++) {
    const int64_t group = weight.quantized() ? row * groups + k / weight.group : 0;
    switch (weight.kind) {
      case Kind::f32:
        *out = load_as<float>(data + 4 * k);
        break;
      case Kind::f16:
        *out = f16(data + 2 * k);
        break;
      case Kind::bf16:
        *out = bf16(data + 2 * k);
        break;
      case Kind::affine:
        *out = scalar(weight.scale_type, weight.scales, group) *
                float(packed(data, k * weight.bits, weight.bits)) +
            scalar(weight.scale_type, weight.biases, group);
        break;
      case Kind::mxfp4:
        *out = e8m0(weight.scales[group]) * e2m1[packed(data, k * 4, 4)];
        break;
      case Kind::nvfp4:
        *out = e4m3(weight.scales[group]) * e2m1[packed(data, k * 4, 4)];
        break;
      case Kind::mxfp8:
        *out = e8m0(weight.scales[group]) * e4m3(data[k]);
        break;
    }
  }
}

}  // namespace g4::G4_SET
