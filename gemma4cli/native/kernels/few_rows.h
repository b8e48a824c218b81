// Products with few rows of input, limited by how fast the weights are read.
#pragma once

#include "few_rows_float.h"
#include "few_rows_packed.h"

namespace g4::G4_SET {

template <class Input>
struct PackedRows {
  static int64_t prepared_size(const Weight& weight) { return packed_prepared_size<Input>(weight); }
  static void prepare(const Weight& weight, const float* x, float* out) {
    prepare_packed<Input>(weight, x, out);
  }
  static constexpr int rows(int count) { return Input::rows(count); }
  template <int rows, int count>
  static void multiply(
      const Weight& weight, const float* const* x, float* const* y, int64_t n, int64_t apart) {
    multiply_packed<Input, rows, count>(weight, x, y, n, apart);
  }
};

template <Kind kind>
struct FloatRows {
  static int64_t prepared_size(const Weight& weight) { return float_prepared_size(weight); }
  static void prepare(const Weight& weight, const float* x, float* out) {
    prepare_float(weight, x, out);
  }
  static constexpr int rows(int) { return 2; }
  template <int rows, int count>
  static void multiply(
      const Weight& weight, const float* const* x, float* const* y, int64_t n, int64_t apart) {
    multiply_float<kind, rows, count>(weight, x, y, n, apart);
  }
};

/// `act` called with the kernel of a matrix.
template <class Act>
inline auto with_rows_of(const Weight& weight, const Act& act) {
  switch (weight.kind) {
    case Kind::f32:
      return act(FloatRows<Kind::f32>());
    case Kind::f16:
      return act(FloatRows<Kind::f16>());
    case Kind::bf16:
      return act(FloatRows<Kind::bf16>());
    case Kind::mxfp8:
      return act(PackedRows<FloatInput<E4m3Bytes>>());
    case Kind::mxfp4:
    case Kind::nvfp4:
      return act(PackedRows<FloatInput<E2m1Words>>());
    case Kind::affine:
      break;
  }
  switch (weight.bits) {
    case 2:
      return act(PackedRows<FloatInput<IntegerWords<2>>>());
    case 3:
      return act(PackedRows<FloatInput<IntegerWords<3>>>());
    case 4:
      return act(PackedRows<FloatInput<IntegerWords<4>>>());
    case 5:
      return act(PackedRows<FloatInput<IntegerWords<5>>>());
    case 6:
      return act(PackedRows<FloatInput<IntegerWords<6>>>());
    default:
      return act(PackedRows<FloatInput<IntegerWords<8>>>());
  }
}

inline int64_t prepared_size(const Weight& weight) {
  const int64_t size = with_rows_of(weight, [&](auto kernel) { return kernel.prepared_size(weight); });
  return round_up(size, 16);
}

inline void prepare(const Weight& weight, const float* x, float* out) {
  with_rows_of(weight, [&](auto kernel) { kernel.prepare(weight, x, out); });
}

template <class Kernel, int count>
void rows_of_weights(
    const Weight& weight, const float* const* x, float* const* y, int64_t first, int64_t last) {
  constexpr int rows = Kernel::rows(count);
  // Rows that are read together are far apart: each is a stream of its own to the processor.
  const int64_t apart = (last - first) / rows;
  for (int64_t n = 0; n < apart; n++) {
    Kernel::template multiply<rows, count>(weight, x, y, first + n, apart);
  }
  for (int64_t n = first + apart * rows; n < last; n++) {
    Kernel::template multiply<1, count>(weight, x, y, n, 0);
  }
}

template <class Kernel>
void few_rows_with(
    const Weight& weight, const float* const* x, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  // More than four rows of input take turns while a few rows of weights are near.
  const int64_t step = count > 4 ? 4 : last - first;
  for (int64_t n = first; n < last; n += step) {
    const int64_t end = smaller(n + step, last);
    for (int64_t i = 0; i < count; i += 4) {
      switch (smaller(4, count - i)) {
        case 1:
          rows_of_weights<Kernel, 1>(weight, x + i, y + i, n, end);
          break;
        case 2:
          rows_of_weights<Kernel, 2>(weight, x + i, y + i, n, end);
          break;
        case 3:
          rows_of_weights<Kernel, 3>(weight, x + i, y + i, n, end);
          break;
        default:
          rows_of_weights<Kernel, 4>(weight, x + i, y + i, n, end);
      }
    }
  }
}

inline void few_rows(
    const Weight& weight, const float* const* x, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  with_rows_of(weight, [&](auto kernel) {
    few_rows_with<decltype(kernel)>(weight, x, count, y, first, last);
  });
}

}  // namespace g4::G4_SET
