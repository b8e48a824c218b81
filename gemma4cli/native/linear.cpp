#include "linear.h"

#include <algorithm>
#include <stdexcept>

#include "few_adapted.h"
#include "operands.h"
#include "product.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

class Linear : public RowPrimitive {
 public:
  Linear(mx::Stream stream, Quantization quantization, AdapterForm adapter, bool clips)
      : RowPrimitive(stream),
        quantization_(std::move(quantization)),
        adapter_(adapter),
        clips_(clips) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 1;
    const Adapted matrix = take_adapted(inputs, index, quantization_, adapter_);
    const float* clip = clips_ ? inputs[index++].data<float>() : nullptr;
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = int64_t(out.size()) / std::max<int64_t>(1, matrix.weight.rows);
    return [=] {
      if (clip || count >= many_rows_from(matrix.weight)) {
        ProductOptions options;
        options.adapter = matrix.adapter;
        if (clip) {
          options.input = {clip[0], clip[1]};
          options.output = {clip[2], clip[3]};
        }
        return product(matrix.weight, x, count, y, matrix.weight.rows, options);
      }
      FewAdapted products(x, count);
      products.add(matrix, y);
      products.compute();
    };
  }
  const char* name() const override { return "G4Linear"; }

 private:
  Quantization quantization_;
  AdapterForm adapter_;
  bool clips_;
};

}  // namespace

mx::array linear(
    const mx::array& x, const Matrix& matrix, const LinearOptions& options,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "linear");
  matrix.check("linear", 2);
  if (x.shape(-1) != matrix.columns()) throw std::invalid_argument("linear: widths differ");
  const auto& [clip, adapter] = options;
  if (clip && (clip->dtype() != mx::float32 || clip->shape() != mx::Shape{4})) {
    throw std::invalid_argument("linear: clip must hold 4 numbers in float32");
  }
  adapter.check("linear", matrix);
  if (clip && (adapter.a || adapter.share)) {
    throw std::invalid_argument("linear: an adapter has no limits");
  }
  std::vector<mx::array> inputs{in_rows(x, stream)};
  matrix.append_to(inputs, stream);
  adapter.append_to(inputs, stream);
  if (clip) inputs.push_back(in_rows(*clip, stream));
  mx::Shape shape = x.shape();
  shape.back() = matrix.weight.shape(0);
  return mx::array(
      std::move(shape), mx::float32,
      std::make_shared<Linear>(stream, matrix.quantization, adapter.form(), clip.has_value()),
      std::move(inputs));
}

}  // namespace g4
