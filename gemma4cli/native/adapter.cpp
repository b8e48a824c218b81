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

/// The adapter whose arrays begin at inputs[index], which moves past them.
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

bool AdaptersForm::is_bias() const {
  return !chosen && !each[0].low_rank && !each[0].share;
}

AdaptersForm Adapters::form() const {
  AdaptersForm result{{}, chosen.has_value()};
  for (const auto& adapter : each) result.each.push_back(adapter.form());
  return result;
}

void Adapters::check(const char* function, const Matrix& matrix, const mx::array& x) const {
  for (const auto& adapter : each) adapter.check(function, matrix);
  const int64_t count = row_count(x);
  const bool fits = !chosen ||
      (chosen->dtype() == mx::int32 && chosen->ndim() == 1 && chosen->size() > 0 &&
       count % int64_t(chosen->size()) == 0);
  if (each.empty() || !fits) {
    throw std::invalid_argument(std::string(function) + ": rows must choose from adapters");
  }
}

void Adapters::append_to(std::vector<mx::array>& inputs, mx::Stream stream) const {
  for (const auto& adapter : each) adapter.append_to(inputs, stream);
  if (chosen) inputs.push_back(in_rows(*chosen, stream));
}

std::vector<std::vector<int64_t>> Adapted::changed(int64_t count) const {
  std::vector<std::vector<int64_t>> result(adapters.size());
  for (int64_t i = 0; i < count; i++) {
    const int64_t number = chosen ? chosen[i * chosen_count / count] : 0;
    if (number < 0 || number >= int64_t(adapters.size())) continue;
    if (adapters[size_t(number)].changes()) result[size_t(number)].push_back(i);
  }
  return result;
}

Adapted take_adapted(
    const std::vector<mx::array>& inputs, size_t& index, const Quantization& quantization,
    const AdaptersForm& form) {
  Adapted result{take_weight(inputs, index, quantization), {}};
  for (const auto& each : form.each) result.adapters.push_back(take_adapter(inputs, index, each));
  if (form.chosen) {
    const auto& chosen = inputs[index++];
    result.chosen = chosen.data<int32_t>();
    result.chosen_count = int64_t(chosen.size());
  }
  return result;
}

}  // namespace g4
