#include "norm.h"

#include <stdexcept>

#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

class RmsNorm : public RowPrimitive {
 public:
  RmsNorm(mx::Stream stream, NormRule rule, bool weighted, bool residual)
      : RowPrimitive(stream), rule_(rule), weighted_(weighted), residual_(residual) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate_like(inputs[0], out);
    const float* x = inputs[0].data<float>();
    const float* weight = weighted_ ? inputs[1].data<float>() : nullptr;
    const float* residual = residual_ ? inputs.back().data<float>() : nullptr;
    float* y = out.data<float>();
    const int64_t rows = row_count(out), width = out.shape(-1);
    return [=, rule = rule_] {
      parallel_rows(rows, width, [&](int64_t first, int64_t last) {
        const int64_t at = first * width;
        kernels().rms_norm(
            x + at, weight, residual ? residual + at : nullptr, rule, y + at, last - first, width);
      });
    };
  }
  const char* name() const override { return "G4RmsNorm"; }

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override;

 private:
  NormRule rule_;
  bool weighted_, residual_;
};

class RmsNormBack : public RowPrimitive {
 public:
  RmsNormBack(mx::Stream stream, NormRule rule) : RowPrimitive(stream), rule_(rule) {}

  /// The inputs are dy, x and perhaps the weight.
  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate_like(inputs[0], out);
    const float *dy = inputs[0].data<float>(), *x = inputs[1].data<float>();
    const float* weight = inputs.size() > 2 ? inputs[2].data<float>() : nullptr;
    float* dx = out.data<float>();
    const int64_t rows = row_count(out), width = out.shape(-1);
    return [=, rule = rule_] {
      parallel_rows(rows, width, [&](int64_t first, int64_t last) {
        const int64_t at = first * width;
        kernels().rms_norm_back(x + at, weight, dy + at, rule, dx + at, last - first, width);
      });
    };
  }
  const char* name() const override { return "G4RmsNormBack"; }

 private:
  NormRule rule_;
};

std::vector<mx::array> RmsNorm::vjp(
    const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
    const std::vector<int>& argnums, const std::vector<mx::array>&) {
  const int residual = residual_ ? int(primals.size()) - 1 : -1;
  std::vector<mx::array> gradients;
  for (int number : argnums) {
    if (number == 0) {
      std::vector<mx::array> inputs{
          in_rows(cotangents[0], stream()), in_rows(primals[0], stream())};
      if (weighted_) inputs.push_back(in_rows(primals[1], stream()));
      gradients.push_back(mx::array(
          primals[0].shape(), mx::float32, std::make_shared<RmsNormBack>(stream(), rule_),
          std::move(inputs)));
    } else if (number == residual) {
      gradients.push_back(
          rule_.scale == 1 ? cotangents[0]
                           : mx::multiply(cotangents[0], mx::array(rule_.scale), stream()));
    } else {
      no_gradient(name(), number);
    }
  }
  return gradients;
}

class LayerNorm : public RowPrimitive {
 public:
  LayerNorm(mx::Stream stream, float eps, float least)
      : RowPrimitive(stream), eps_(eps), least_(least) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate_like(inputs[0], out);
    const float *x = inputs[0].data<float>(), *weight = inputs[1].data<float>();
    const float* bias = inputs.size() > 2 ? inputs[2].data<float>() : nullptr;
    float* y = out.data<float>();
    const int64_t rows = row_count(out), width = out.shape(-1);
    return [=, eps = eps_, least = least_] {
      parallel_rows(rows, width, [&](int64_t first, int64_t last) {
        const int64_t at = first * width;
        kernels().layer_norm(x + at, weight, bias, eps, least, y + at, last - first, width);
      });
    };
  }
  const char* name() const override { return "G4LayerNorm"; }

 private:
  float eps_, least_;
};

mx::array column_numbers(
    const mx::array& numbers, const mx::array& x, const char* function, mx::Stream stream) {
  if (numbers.ndim() != 1 || numbers.shape(0) != x.shape(-1)) {
    throw std::invalid_argument(
        std::string(function) + ": weight and bias must have one number per column");
  }
  return in_rows(mx::astype(numbers, mx::float32, stream), stream);
}

}  // namespace

mx::array rms_norm(
    const mx::array& x, const std::optional<mx::array>& weight,
    const std::optional<mx::array>& residual, NormRule rule, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "rms_norm");
  std::vector<mx::array> inputs{in_rows(x, stream)};
  if (weight) inputs.push_back(column_numbers(*weight, x, "rms_norm", stream));
  if (residual) {
    if (residual->shape() != x.shape() || residual->dtype() != mx::float32) {
      throw std::invalid_argument("rms_norm: residual must be like x");
    }
    inputs.push_back(in_rows(*residual, stream));
  }
  return mx::array(
      x.shape(), mx::float32,
      std::make_shared<RmsNorm>(stream, rule, weight.has_value(), residual.has_value()),
      std::move(inputs));
}

mx::array layer_norm(
    const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, float eps,
    float least, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "layer_norm");
  std::vector<mx::array> inputs{
      in_rows(x, stream), column_numbers(weight, x, "layer_norm", stream)};
  if (bias) inputs.push_back(column_numbers(*bias, x, "layer_norm", stream));
  return mx::array(
      x.shape(), mx::float32, std::make_shared<LayerNorm>(stream, eps, least), std::move(inputs));
}

}  // namespace g4
