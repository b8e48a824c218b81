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

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    const auto factor = primals.size() > 1 ? std::optional(primals[1]) : std::nullopt;
    const auto both = activate_back(curve_, primals[0], factor, cotangents[0], stream());
    std::vector<mx::array> gradients;
    for (int number : argnums) gradients.push_back(both[size_t(number)]);
    return gradients;
  }

 private:
  Curve curve_;
};

class ActivateBack : public RowPrimitive {
 public:
  ActivateBack(mx::Stream stream, Curve curve) : RowPrimitive(stream), curve_(curve) {}

  /// The inputs are dy, x and perhaps the factor.
  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (auto& out : outputs) allocate(out);
    const float *dy = inputs[0].data<float>(), *x = inputs[1].data<float>();
    const float* factor = inputs.size() > 2 ? inputs[2].data<float>() : nullptr;
    float* dx = outputs[0].data<float>();
    float* dfactor = outputs.size() > 1 ? outputs[1].data<float>() : nullptr;
    return [=, size = int64_t(inputs[0].size()), curve = curve_] {
      parallel_rows(size, 1, [&](int64_t first, int64_t last) {
        kernels().activate_back(
            curve, x + first, factor ? factor + first : nullptr, dy + first, dx + first,
            dfactor ? dfactor + first : nullptr, last - first);
      });
    };
  }
  const char* name() const override { return "G4ActivateBack"; }

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

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>&, const std::vector<mx::array>&) override {
    const auto halves = mx::split(primals[0], 2, -1, stream());
    const auto back =
        activate_back(Curve::sigmoid, halves[1], halves[0], cotangents[0], stream());
    return {mx::concatenate({back[1], back[0]}, -1, stream())};
  }
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

  std::vector<mx::array> vjp(
      const std::vector<mx::array>&, const std::vector<mx::array>& cotangents,
      const std::vector<int>&, const std::vector<mx::array>& outputs) override {
    // tanh's slope is 1 - tanh^2.
    const auto share = mx::divide(outputs[0], mx::array(cap_), stream());
    const auto slope = mx::subtract(mx::array(1.0f), mx::square(share, stream()), stream());
    return {mx::multiply(cotangents[0], slope, stream())};
  }

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

std::vector<mx::array> activate_back(
    Curve curve, const mx::array& x, const std::optional<mx::array>& factor, const mx::array& dy,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  std::vector<mx::array> inputs{in_rows(dy, stream), in_rows(x, stream)};
  if (factor) inputs.push_back(in_rows(*factor, stream));
  const size_t count = inputs.size() - 1;
  return mx::array::make_arrays(
      std::vector<mx::Shape>(count, x.shape()), std::vector<mx::Dtype>(count, mx::float32),
      std::make_shared<ActivateBack>(stream, curve), inputs);
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
