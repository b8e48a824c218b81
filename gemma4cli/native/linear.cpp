#include "linear.h"

#include <stdexcept>

#include "few_products.h"
#include "mlx/backend/cpu/encoder.h"
#include "operands.h"
#include "product.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

class Linear : public RowPrimitive {
 public:
  Linear(mx::Stream stream, Quantization quantization)
      : RowPrimitive(stream), quantization_(std::move(quantization)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    out.set_data(mx::allocator::malloc(out.nbytes()));
    size_t index = 1;
    const Weight weight = take_weight(inputs, index, quantization_);
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = inputs[0].size() / size_t(weight.columns);
    mx::cpu::get_command_encoder(stream()).dispatch([=] {
      if (count >= many_rows_from) return product(weight, x, count, y, weight.rows);
      const PreparedRows rows(weight, x, count);
      multiply({{weight, rows.rows(), rows_of(y, count, weight.rows)}});
    });
  }
  const char* name() const override { return "G4Linear"; }

 private:
  Quantization quantization_;
};

}  // namespace

mx::array linear(const mx::array& x, const Matrix& matrix, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "linear");
  matrix.check("linear", 2);
  if (x.shape(-1) != matrix.columns()) throw std::invalid_argument("linear: widths differ");
  std::vector<mx::array> inputs{in_rows(x, stream)};
  matrix.append_to(inputs, stream);
  mx::Shape shape = x.shape();
  shape.back() = matrix.weight.shape(0);
  return mx::array(
      std::move(shape), mx::float32, std::make_shared<Linear>(stream, matrix.quantization),
      std::move(inputs));
}

}  // namespace g4
