// Keys and values as vectors of float32, read from where they are: numbers or packed ones.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "unpack.h"

namespace g4::G4_SET {

/// Rows of numbers, `stride` apart.
struct NumberRows {
  static constexpr bool packed = false;
  /// Numbers that one `Run` reads: all.
  static constexpr int64_t run(int64_t width) { return width; }
  static constexpr int step = lanes;

  /// Numbers of a row.
  struct Run {
    const float* at;
    /// The vectors from number `d` on.
    void read(int64_t d, Vec (&to)[1]) const { to[0] = load(at + d); }
  };

  const float* rows;
  int64_t stride;

  Run run_of(int64_t row, int64_t) const { return {rows + row * stride}; }
  float number(int64_t row, int64_t d) const { return rows[row * stride + d]; }
  void prefetch(int64_t row, int64_t d) const { __builtin_prefetch(rows + row * stride + d); }
};

/// Rows of packed numbers, whose groups are whole chunks.
template <int bits>
struct QuantizedRows {
  static constexpr bool packed = true;
  int64_t run(int64_t) const { return rows.group; }
  static constexpr int step = chunk;

  /// Numbers of a row that share a scale and a bias.
  struct Run {
    const uint8_t* at;
    Vec scale, bias;
    void read(int64_t d, Vec (&to)[chunk / lanes]) const {
      const Chunk numbers = spread<bits>(at + d * bits / 8);
      for (int i = 0; i < chunk / lanes; i++) {
        // Bytes have nothing above them.
        const UVec number = bits == 8 ? numbers.part[i] : numbers.part[i] & ((1u << bits) - 1);
        to[i] = __builtin_convertvector((IVec)number, Vec) * scale + bias;
      }
    }
  };

  PackedRows rows;

  /// The run from number `d` on.
  Run run_of(int64_t row, int64_t d) const {
    const int64_t group = 4 * (d / rows.group);
    const uint8_t *scale = rows.scales + row * rows.scale_row + group;
    const uint8_t *bias = rows.biases + row * rows.bias_row + group;
    return {rows.data + row * rows.row, fill(load_as<float>(scale)), fill(load_as<float>(bias))};
  }
  void prefetch(int64_t row, int64_t d) const {
    __builtin_prefetch(rows.data + row * rows.row + d * bits / 8);
  }
};

/// `use` with the rows of a tile's keys or values.
template <class Use>
inline void with_rows(const float* rows, int64_t stride, const PackedRows& packed, const Use& use) {
  if (!packed.data) return use(NumberRows{rows, stride});
  if (packed.bits == 8) return use(QuantizedRows<8>{packed});
  return use(QuantizedRows<4>{packed});
}

/// Numbers of a block of keys or values, `stride` apart.
struct Block {
  const float* rows;
  int64_t stride;
};

/// Rows [first, first + count) where they are, or unpacked to `space`.
inline Block block_of(
    const float* rows, int64_t stride, const PackedRows& packed, int64_t first, int64_t count,
    int64_t width, float* space) {
  if (!packed.data) return {rows + first * stride, stride};
  Weight row{};
  row.kind = Kind::affine;
  row.scale_type = Float::f32;
  row.bits = packed.bits;
  row.group = packed.group;
  row.rows = 1;
  row.columns = width;
  for (int64_t n = first; n < first + count; n++) {
    row.data = packed.data + n * packed.row;
    row.scales = packed.scales + n * packed.scale_row;
    row.biases = packed.biases + n * packed.bias_row;
    unpack_affine_row(row, 0, 0, width, space + (n - first) * width);
  }
  return {space, width};
}

}  // namespace g4::G4_SET
