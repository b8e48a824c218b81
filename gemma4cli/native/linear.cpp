#include "linear.h"

#include <algorithm>
#include <stdexcept>

#include "few_products.h"
#include "operands.h"
#include "product.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// What of the options a layer has; their arrays follow the matrix among the inputs.
struct Extras {
  bool clip = false;
  bool bias = false;
};

class Linear : public RowPrimitive {
 public:
  Linear(mx::Stream stream, Quantization quantization, Extras extras)
      : RowPrimitive(stream), quantization_(std::move(quantization)), extras_(extras) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 1;
    const Weight weight = take_weight(inputs, index, quantization_);
    const float* clip = extras_.clip ? inputs[index++].data<float>() : nullptr;
    const float* bias = extras_.bias ? inputs[index++].data<float>() : nullptr;
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = int64_t(out.size()) / std::max<int64_t>(1, weight.rows);
    return [=] {
      if (clip || bias || count >= many_rows_from(weight)) {
        ProductOptions options;
        options.output.bias = bias;
        if (clip) {
          options.input = {clip[0], clip[1]};
          options.output.limits = {clip[2], clip[3]};
        }
        return product(weight, x, count, y, weight.rows, options);
      }
      const PreparedInput input(weight, x, count);
      multiply({{weight, input.input(), rows_of(y, count, weight.rows)}});
    };
  }
  const char* name() const override { return "G4Linear"; }

 private:
  Quantization quantization_;
  Extras extras_;
};

}  // namespace

mx::array linear(
    const mx::array& x, const Matrix& matrix, const LinearOptions& options,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "linear");
  matrix.check("linear", 2);
  if (x.shape(-1) != matrix.columns()) throw std::invalid_argument("linear: widths differ");
  const auto& [clip, bias] = options;
  if (clip && (clip->dtype() != mx::float32 || clip->shape() != mx::Shape{4})) {
    throw std::invalid_argument("linear: clip must hold 4 numbers in float32");
  }
  if (bias && bias->shape() != mx::Shape{matrix.weight.shape(0)}) {
    throw std::invalid_argument("linear: bias must have a number for each output");
  }
  std::vector<mx::array> inputs{in_rows(x, stream)};
  matrix.append_to(inputs, stream);
  if (clip) inputs.push_back(in_rows(*clip, stream));
  if (bias) inputs.push_back(in_rows(mx::astype(*bias, mx::float32, stream), stream));
  mx::Shape shape = x.shape();
  shape.back() = matrix.weight.shape(0);
  const Extras extras{clip.has_value(), bias.has_value()};
  return mx::array(
      std::move(shape), mx::float32,
      std::make_shared<Linear>(stream, matrix.quantization, extras), std::move(inputs));
}

}  // namespace g4
