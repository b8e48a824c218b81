#include "linear.h"

#include <algorithm>
#include <stdexcept>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"
#include "product.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Weights below which threads cost more than they save.
constexpr int64_t small_product = 1 << 15;

Kind kind_of(const Quantization& quantization, mx::Dtype dtype) {
  const auto& mode = quantization.mode;
  if (mode.empty()) {
    if (dtype == mx::float32) return Kind::f32;
    if (dtype == mx::float16) return Kind::f16;
    if (dtype == mx::bfloat16) return Kind::bf16;
  } else if (dtype == mx::uint32) {
    if (mode == "affine") return Kind::affine;
    if (mode == "mxfp4") return Kind::mxfp4;
    if (mode == "mxfp8") return Kind::mxfp8;
    if (mode == "nvfp4") return Kind::nvfp4;
  }
  throw std::invalid_argument("linear: unknown quantization or type of weights");
}

Float float_of(mx::Dtype dtype) {
  if (dtype == mx::float32) return Float::f32;
  if (dtype == mx::float16) return Float::f16;
  if (dtype == mx::bfloat16) return Float::bf16;
  throw std::invalid_argument("linear: scales must be floating-point numbers");
}

class Linear : public mx::Primitive {
 public:
  Linear(mx::Stream stream, Quantization quantization)
      : mx::Primitive(stream), quantization_(std::move(quantization)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    out.set_data(mx::allocator::malloc(out.nbytes()));
    auto& encoder = mx::cpu::get_command_encoder(stream());
    const mx::array* scales = inputs.size() > 2 ? &inputs[2] : nullptr;
    const mx::array* biases = inputs.size() > 3 ? &inputs[3] : nullptr;
    const Weight weight = weight_of(inputs[1], scales, biases, quantization_);
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = inputs[0].size() / weight.columns;
    encoder.dispatch([=] {
      if (count >= many_rows_from) return product(weight, x, count, y, weight.rows);
      const auto& set = kernels();
      const int64_t size = weight.rows * weight.columns;
      const int64_t parts = size < small_product ? 1 : std::min<int64_t>(
          (weight.rows + 15) / 16, 8 * ThreadPool::shared().size());
      const int64_t step = ((weight.rows + parts - 1) / parts + 15) / 16 * 16;
      parallel((weight.rows + step - 1) / step, [&](int64_t part) {
        const int64_t first = part * step;
        set.few_rows(weight, x, count, y, weight.rows, first, std::min(first + step, weight.rows));
      });
    });
  }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error("g4's native linear runs on CPUs only");
  }
  const char* name() const override { return "G4Linear"; }

 private:
  Quantization quantization_;
};

}  // namespace

Weight weight_of(
    const mx::array& weight, const mx::array* scales, const mx::array* biases,
    const Quantization& quantization) {
  const Kind kind = kind_of(quantization, weight.dtype());
  const bool quantized = kind >= Kind::affine;
  const int bits = quantized ? quantization.bits : 8 * int(weight.itemsize());
  return {
      .kind = kind,
      .scale_type = kind == Kind::affine ? float_of(scales->dtype()) : Float::f32,
      .bits = bits,
      .group = quantized ? quantization.group_size : 1,
      .rows = weight.shape(-2),
      .columns = quantized ? int64_t(weight.shape(-1)) * 32 / bits : weight.shape(-1),
      .data = weight.data<uint8_t>(),
      .scales = scales ? scales->data<uint8_t>() : nullptr,
      .biases = biases ? biases->data<uint8_t>() : nullptr,
  };
}

mx::array linear(
    const mx::array& x, const mx::array& weight, const std::optional<mx::array>& scales,
    const std::optional<mx::array>& biases, const Quantization& quantization,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  if (x.dtype() != mx::float32 || x.ndim() == 0 || weight.ndim() != 2) {
    throw std::invalid_argument("linear: x must be float32, and weight a matrix");
  }
  kind_of(quantization, weight.dtype());
  const int64_t columns = quantization.mode.empty()
      ? weight.shape(1)
      : int64_t(weight.shape(1)) * 32 / quantization.bits;
  if (x.shape(-1) != columns) throw std::invalid_argument("linear: widths differ");
  std::vector<mx::array> inputs{
      mx::contiguous(x, false, stream), mx::contiguous(weight, false, stream)};
  if (scales) inputs.push_back(mx::contiguous(*scales, false, stream));
  if (biases) inputs.push_back(mx::contiguous(*biases, false, stream));
  mx::Shape shape = x.shape();
  shape.back() = weight.shape(0);
  return mx::array(
      std::move(shape), mx::float32, std::make_shared<Linear>(stream, quantization),
      std::move(inputs));
}

}  // namespace g4
