#include "elementwise.h"

#include <stdexcept>

#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

class Activate : public RowPrimitive {
 public:
  Activate(mx::Stream stream, Curve curve) : RowPrimitive(stream), curve_(curve) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate_like(inputs[0], out);
    const float* x = inputs[0].data<float>();
    const float* factor = inputs.size() > 1 ? inputs[1].data<float>() : nullptr;
    return [x, factor, y = out.data<float>(), size = int64_t(out.size()), curve = curve_] {
      parallel_rows(size, 1, [&](int64_t first, int64_t last) {
        kernels().activate(
            curve, x + first, factor ? factor + first : nullptr, y + first, last - first);
      });
    };
  }
  const char* name() const override { return "G4Activate"; }

 private:
  Curve curve_;
};

class Glu : public RowPrimitive {
 public:
  using RowPrimitive::RowPrimitive;

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const int64_t rows = row_count(out), width = out.shape(-1);
    return [x = inputs[0].data<float>(), y = out.data<float>(), rows, width] {
      parallel_rows(rows, width, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          const float* row = x + i * 2 * width;
          kernels().activate(Curve::sigmoid, row + width, row, y + i * width, width);
        }
      });
    };
  }
  const char* name() const override { return "G4Glu"; }
};

class Softcap : public RowPrimitive {
 public:
  Softcap(mx::Stream stream, float cap) : RowPrimitive(stream), cap_(cap) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate_like(inputs[0], out);
    return [x = inputs[0].data<float>(), y = out.data<float>(), size = int64_t(out.size()),
            cap = cap_] {
      parallel_rows(size, 1, [&](int64_t first, int64_t last) {
        kernels().softcap(x + first, cap, y + first, last - first);
      });
    };
  }
  const char* name() const override { return "G4Softcap"; }

 private:
  float cap_;
};

}  // namespace

mx::array activate(
    Curve curve, const mx::array& x, const std::optional<mx::array>& factor,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "activate");
  std::vector<mx::array> inputs{in_rows(x, stream)};
  if (factor) {
    require_float32(*factor, "activate");
    if (factor->shape() != x.shape()) throw std::invalid_argument("activate: shapes differ");
    inputs.push_back(in_rows(*factor, stream));
  }
  return mx::array(
      x.shape(), mx::float32, std::make_shared<Activate>(stream, curve), std::move(inputs));
}

mx::array glu(const mx::array& x, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "glu");
  mx::Shape shape = x.shape();
  if (shape.back() % 2 != 0) throw std::invalid_argument("glu: the last axis must be even");
  shape.back() /= 2;
  return mx::array(
      std::move(shape), mx::float32, std::make_shared<Glu>(stream),
      std::vector<mx::array>{in_rows(x, stream)});
}

mx::array softcap(const mx::array& x, float cap, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "softcap");
  return mx::array(
      x.shape(), mx::float32, std::make_shared<Softcap>(stream, cap),
      std::vector<mx::array>{in_rows(x, stream)});
}

}  // namespace g4
