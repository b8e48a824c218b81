#include "adapter.h"

#include <stdexcept>
#include <string>

#include "operands.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

bool floating(const mx::array& x) {
  return x.dtype() == mx::float32 || x.dtype() == mx::float16 || x.dtype() == mx::bfloat16;
}

Weight take_plain(const std::vector<mx::array>& inputs, size_t& index) {
  return take_weight(inputs, index, {});
}

}  // namespace

AdapterForm Adapter::form() const {
  return {a.has_value(), share.has_value(), bias.has_value(), scale};
}

void Adapter::check(const char* function, const Matrix& matrix) const {
  const auto require = [&](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string(function) + ": " + what);
  };
  const int outputs = matrix.weight.shape(0);
  require(a.has_value() == b.has_value(), "an adapter has both of its matrices or none");
  if (a) {
    require(floating(*a) && floating(*b), "an adapter must hold floating-point numbers");
    const bool fits = a->ndim() == 2 && b->ndim() == 2 && a->shape(1) == matrix.columns() &&
        b->shape(0) == outputs && a->shape(0) == b->shape(1) && a->shape(0) > 0;
    require(fits, "an adapter does not fit its matrix");
  }
  for (const auto* each : {&share, &bias}) {
    require(
        !*each || (*each)->shape() == mx::Shape{outputs},
        "an adapter must have a share or a bias for each output");
  }
}

void Adapter::append_to(std::vector<mx::array>& inputs, mx::Stream stream) const {
  for (const auto* each : {&a, &b}) {
    if (*each) inputs.push_back(in_rows(**each, stream));
  }
  for (const auto* each : {&share, &bias}) {
    if (*each) inputs.push_back(in_rows(mx::astype(**each, mx::float32, stream), stream));
  }
}

Adapted take_adapted(
    const std::vector<mx::array>& inputs, size_t& index, const Quantization& quantization,
    const AdapterForm& form) {
  const Weight weight = take_weight(inputs, index, quantization);
  return {weight, take_adapter(inputs, index, form)};
}

LowRank take_adapter(
    const std::vector<mx::array>& inputs, size_t& index, const AdapterForm& form) {
  LowRank result;
  result.scale = form.scale;
  if (form.low_rank) {
    result.a = take_plain(inputs, index);
    result.addition.b = take_plain(inputs, index);
  }
  if (form.share) result.addition.share = inputs[index++].data<float>();
  if (form.bias) result.addition.bias = inputs[index++].data<float>();
  return result;
}

}  // namespace g4
