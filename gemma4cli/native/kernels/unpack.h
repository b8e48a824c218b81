// Stored numbers of a matrix to float32.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "spread.h"

namespace g4::G4_SET {

/// The scale or bias of a group, counted over all rows.
inline float affine_parameter(Float type, const uint8_t* values, int64_t index) {
  switch (type) {
    case Float::f32:
      return load_as<float>(values + 4 * index);
    case Float::f16:
      return f16(values + 2 * index);
    default:
      return bf16(values + 2 * index);
  }
}

/// `count` packed numbers from `data` on, each through `value`.
template <int bits, class Value>
inline void unpack_packed(const uint8_t* data, int64_t count, const Value& value, float* out) {
  for (int64_t i = 0; i < count; i += chunk, data += chunk * bits / 8) {
    const Chunk numbers = spread<bits>(data);
    for (int j = 0; j < chunk / lanes; j++) store(out + i + j * lanes, value(numbers.part[j]));
  }
}

inline void unpack_e4m3(const uint8_t* data, int64_t count, float scale, float* out) {
  for (int64_t i = 0; i < count; i += lanes) {
    store(out + i, e4m3(load_as<BVec>(data + i)) * scale);
  }
}

/// `part(first, count, group)` for the part of each group within the numbers of a row.
template <class Part>
inline void for_groups(
    const Weight& weight, int64_t row, int64_t first, int64_t count, const Part& part) {
  const int64_t last = first + count, groups = row * (weight.columns / weight.group);
  int64_t group = first / weight.group;
  for (int64_t k = first; k < last; group++) {
    const int64_t end = smaller(last, (group + 1) * weight.group);
    part(k, end - k, groups + group);
    k = end;
  }
}

template <int bits>
inline void unpack_affine_row(
    const Weight& weight, int64_t row, int64_t first, int64_t count, float* out) {
  const uint8_t* data = weight.data + row * weight.row_bytes();
  for_groups(weight, row, first, count, [&](int64_t k, int64_t size, int64_t group) {
    const float scale = affine_parameter(weight.scale_type, weight.scales, group);
    const float bias = affine_parameter(weight.scale_type, weight.biases, group);
    unpack_packed<bits>(data + k * bits / 8, size, Affine<bits>(scale, bias), out + (k - first));
  });
}

inline void unpack_affine_row(
    const Weight& weight, int64_t row, int64_t first, int64_t count, float* out) {
  switch (weight.bits) {
    case 2:
      return unpack_affine_row<2>(weight, row, first, count, out);
    case 3:
      return unpack_affine_row<3>(weight, row, first, count, out);
    case 4:
      return unpack_affine_row<4>(weight, row, first, count, out);
    case 5:
      return unpack_affine_row<5>(weight, row, first, count, out);
    case 6:
      return unpack_affine_row<6>(weight, row, first, count, out);
    default:
      return unpack_affine_row<8>(weight, row, first, count, out);
  }
}

inline void unpack_f32(const uint8_t* data, int64_t count, float* out) {
  std::memcpy(out, data, size_t(count) * 4);
}

inline void unpack_f16(const uint8_t* data, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(out + i, load_f16(data + 2 * i));
  for (; i < count; i++) out[i] = f16(data + 2 * i);
}

inline void unpack_bf16(const uint8_t* data, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(out + i, load_bf16(data + 2 * i));
  for (; i < count; i++) out[i] = bf16(data + 2 * i);
}

/// Numbers [first, first + count) of a row. In quantized matrices both are multiples of 16, the
/// smallest group, which whole vectors fill; nothing beyond the numbers is read.
inline void unpack(const Weight& weight, int64_t row, int64_t first, int64_t count, float* out) {
  const uint8_t* data = weight.data + row * weight.row_bytes();
  switch (weight.kind) {
    case Kind::f32:
      return unpack_f32(data + 4 * first, count, out);
    case Kind::f16:
      return unpack_f16(data + 2 * first, count, out);
    case Kind::bf16:
      return unpack_bf16(data + 2 * first, count, out);
    case Kind::affine:
      return unpack_affine_row(weight, row, first, count, out);
    case Kind::mxfp4:
      return for_groups(weight, row, first, count, [&](int64_t k, int64_t size, int64_t group) {
        unpack_packed<4>(data + k / 2, size, E2m1(e8m0(weight.scales[group])), out + (k - first));
      });
    case Kind::nvfp4:
      return for_groups(weight, row, first, count, [&](int64_t k, int64_t size, int64_t group) {
        unpack_packed<4>(data + k / 2, size, E2m1(e4m3(weight.scales[group])), out + (k - first));
      });
    case Kind::mxfp8:
      return for_groups(weight, row, first, count, [&](int64_t k, int64_t size, int64_t group) {
        unpack_e4m3(data + k, size, e8m0(weight.scales[group]), out + (k - first));
      });
  }
}

}  // namespace g4::G4_SET
