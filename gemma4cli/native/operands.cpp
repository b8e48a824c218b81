#include "operands.h"

#include "mlx/backend/cpu/encoder.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Where a row of the last axis begins. MLX's own function counts numbers in 32 bits.
int64_t row_start(int64_t row, const mx::Shape& shape, const mx::Strides& strides) {
  int64_t at = 0;
  for (int axis = int(shape.size()) - 2; axis >= 0; axis--) {
    at += row % shape[axis] * strides[axis];
    row /= shape[axis];
  }
  return at;
}

}  // namespace

void RowPrimitive::eval_cpu(
    const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) {
  mx::cpu::get_command_encoder(stream()).dispatch(prepare(inputs, outputs));
}

void no_gradient(const char* primitive, int number) {
  throw std::invalid_argument(
      std::string(primitive) + " has no gradient for its input " + std::to_string(number));
}

mx::array with_dense_last_axis(const mx::array& x, mx::Stream stream) {
  if (x.strides(-1) == 1 || x.shape(-1) == 1) return x;
  mx::array dense(x.shape(), x.dtype(), nullptr, {});
  allocate(dense);
  auto& encoder = mx::cpu::get_command_encoder(stream);
  encoder.dispatch([from = x.data<uint32_t>(), to = dense.data<uint32_t>(), rows = row_count(x),
                    shape = x.shape(), strides = x.strides()] {
    const int64_t width = shape.back(), step = strides.back();
    for (int64_t row = 0; row < rows; row++) {
      const uint32_t* numbers = from + row_start(row, shape, strides);
      for (int64_t i = 0; i < width; i++) to[row * width + i] = numbers[i * step];
    }
  });
  encoder.add_temporary(dense);
  return dense;
}

}  // namespace g4
