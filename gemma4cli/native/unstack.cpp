#include "unstack.h"

#include <algorithm>
#include <stdexcept>

#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

class Unstack : public RowPrimitive {
 public:
  using RowPrimitive::RowPrimitive;

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    std::vector<float*> parts;
    for (auto& out : outputs) {
      allocate(out);
      parts.push_back(out.data<float>());
    }
    const int64_t count = int64_t(parts.size()), width = inputs[0].shape(3);
    const int64_t tokens = int64_t(inputs[0].shape(0)) * inputs[0].shape(1);
    return [=, parts = std::move(parts), x = inputs[0].data<float>()] {
      parallel_rows(tokens, count * width, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          for (int64_t n = 0; n < count; n++) {
            std::copy_n(x + (i * count + n) * width, width, parts[size_t(n)] + i * width);
          }
        }
      });
    };
  }
  const char* name() const override { return "G4Unstack"; }

  std::vector<mx::array> vjp(
      const std::vector<mx::array>&, const std::vector<mx::array>& cotangents,
      const std::vector<int>&, const std::vector<mx::array>&) override {
    return {mx::stack(cotangents, 2, stream())};
  }
};

}  // namespace

std::vector<mx::array> unstack(const mx::array& x, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "unstack");
  if (x.ndim() != 4 || x.shape(2) == 0) {
    throw std::invalid_argument("unstack: x must be [B, L, N, D]");
  }
  const size_t count = size_t(x.shape(2));
  return mx::array::make_arrays(
      std::vector<mx::Shape>(count, {x.shape(0), x.shape(1), x.shape(3)}),
      std::vector<mx::Dtype>(count, mx::float32), std::make_shared<Unstack>(stream),
      {in_rows(x, stream)});
}

}  // namespace g4
