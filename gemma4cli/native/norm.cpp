#include "norm.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/kernels.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Numbers that one thread handles at least.
constexpr int64_t part_size = 1 << 15;

class RmsNorm : public mx::Primitive {
 public:
  RmsNorm(mx::Stream stream, float eps, float scale, bool weighted, bool residual)
      : mx::Primitive(stream), eps_(eps), scale_(scale), weighted_(weighted), residual_(residual) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    out.set_data(mx::allocator::malloc(out.nbytes()));
    auto& encoder = mx::cpu::get_command_encoder(stream());
    const float* x = inputs[0].data<float>();
    const float* weight = weighted_ ? inputs[1].data<float>() : nullptr;
    const float* residual = residual_ ? inputs.back().data<float>() : nullptr;
    float* y = out.data<float>();
    const int64_t width = out.shape(-1), rows = width ? out.size() / width : 0;
    encoder.dispatch([=, eps = eps_, scale = scale_] {
      const auto& set = kernels();
      const int64_t step = std::max<int64_t>(1, part_size / std::max<int64_t>(1, width));
      parallel((rows + step - 1) / step, [&](int64_t part) {
        const int64_t first = part * step, at = first * width;
        set.rms_norm(
            x + at, weight, residual ? residual + at : nullptr, scale, eps, y + at,
            std::min(step, rows - first), width);
      });
    });
  }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error("g4's native norm runs on CPUs only");
  }
  const char* name() const override { return "G4RmsNorm"; }

 private:
  float eps_, scale_;
  bool weighted_, residual_;
};

}  // namespace

mx::array rms_norm(
    const mx::array& x, const std::optional<mx::array>& weight, float eps,
    const std::optional<mx::array>& residual, float scale, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  if (x.dtype() != mx::float32 || x.ndim() == 0) {
    throw std::invalid_argument("rms_norm: x must be float32");
  }
  std::vector<mx::array> inputs{mx::contiguous(x, false, stream)};
  if (weight) inputs.push_back(mx::contiguous(mx::astype(*weight, mx::float32, stream), false, stream));
  if (residual) {
    if (residual->shape() != x.shape() || residual->dtype() != mx::float32) {
      throw std::invalid_argument("rms_norm: residual must be like x");
    }
    inputs.push_back(mx::contiguous(*residual, false, stream));
  }
  return mx::array(
      x.shape(), mx::float32,
      std::make_shared<RmsNorm>(stream, eps, scale, weight.has_value(), residual.has_value()),
      std::move(inputs));
}

}  // namespace g4
