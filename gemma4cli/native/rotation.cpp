#include "rotation.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/kernels.h"
#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// The cosines and sines of each token of x [B, L, H, D], or none.
struct Turns {
  const float* table = nullptr;
  int64_t parts = 1, of_row = 0, of_token;

  Turns(const mx::array* cos_sin, const mx::array& x) : of_token(x.shape(3)) {
    if (!cos_sin) return;
    table = cos_sin->data<float>();
    parts = cos_sin->shape(2);
    if (cos_sin->shape(0) > 1) of_row = x.shape(1) * of_token;  // else all rows have the same
  }

  const float* at(int64_t row, int64_t token) const {
    return table ? table + row * of_row + token * of_token : nullptr;
  }
};

class Rotate : public RowPrimitive {
 public:
  Rotate(mx::Stream stream, std::optional<float> eps, bool weighted, bool rotated)
      : RowPrimitive(stream), eps_(eps), weighted_(weighted), rotated_(rotated) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return [] {};
    const mx::array x = with_dense_last_axis(inputs[0], stream());
    const float* weight = weighted_ ? inputs[1].data<float>() : nullptr;
    const Turns turns(rotated_ ? &inputs.back() : nullptr, x);
    const int64_t batch = x.shape(0), length = x.shape(1), heads = x.shape(2), width = x.shape(3);
    const int64_t x_batch = x.strides(0), x_token = x.strides(1), x_head = x.strides(2);
    return [=, x = x.data<float>(), y = out.data<float>(), eps = eps_] {
      const auto& set = kernels();
      const NormRule rule{eps.value_or(0), 1, std::numeric_limits<float>::infinity()};
      parallel_rows(batch * length, heads * width, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          const int64_t b = i / length, l = i % length;
          set.rotate(
              x + b * x_batch + l * x_token, x_head, weight, eps ? &rule : nullptr,
              turns.at(b, l), turns.parts, y + (b * heads * length + l) * width, length * width,
              heads, width);
        }
      });
    };
  }
  const char* name() const override { return "G4Rotate"; }

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override;

 private:
  std::optional<float> eps_;
  bool weighted_, rotated_;
};

class RotateBack : public RowPrimitive {
 public:
  RotateBack(mx::Stream stream, std::optional<float> eps, bool weighted, bool rotated)
      : RowPrimitive(stream), eps_(eps), weighted_(weighted), rotated_(rotated) {}

  /// The inputs are x, dy [B, H, L, D] and those of Rotate that follow x; a table has the opposite
  /// sines. Each head is turned back, then what its norm does is undone in place.
  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return [] {};
    const mx::array x = with_dense_last_axis(inputs[0], stream());
    const float* weight = weighted_ ? inputs[2].data<float>() : nullptr;
    const Turns turns(rotated_ ? &inputs.back() : nullptr, x);
    const int64_t batch = x.shape(0), length = x.shape(1), heads = x.shape(2), width = x.shape(3);
    const int64_t x_batch = x.strides(0), x_token = x.strides(1), x_head = x.strides(2);
    return [=, x = x.data<float>(), dy = inputs[1].data<float>(), dx = out.data<float>(),
            eps = eps_] {
      const auto& set = kernels();
      const NormRule rule{eps.value_or(0), 1, std::numeric_limits<float>::infinity()};
      parallel_rows(batch * length, heads * width, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          const int64_t b = i / length, l = i % length;
          float* token = dx + i * heads * width;
          set.rotate(
              dy + (b * heads * length + l) * width, length * width, nullptr, nullptr,
              turns.at(b, l), turns.parts, token, width, heads, width);
          for (int64_t head = 0; eps && head < heads; head++) {
            float* gradient = token + head * width;
            set.rms_norm_back(
                x + b * x_batch + l * x_token + head * x_head, weight, gradient, rule, gradient, 1,
                width);
          }
        }
      });
    };
  }
  const char* name() const override { return "G4RotateBack"; }

 private:
  std::optional<float> eps_;
  bool weighted_, rotated_;
};

std::vector<mx::array> Rotate::vjp(
    const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
    const std::vector<int>& argnums, const std::vector<mx::array>&) {
  if (argnums != std::vector<int>{0}) no_gradient(name(), argnums.back());
  std::vector<mx::array> inputs{primals[0], in_rows(cotangents[0], stream())};
  if (weighted_) inputs.push_back(in_rows(primals[1], stream()));
  if (rotated_) {
    const auto signs = mx::reshape(mx::array({1.0f, -1.0f}), {2, 1}, stream());
    inputs.push_back(in_rows(mx::multiply(primals.back(), signs, stream()), stream()));
  }
  return {mx::array(
      primals[0].shape(), mx::float32,
      std::make_shared<RotateBack>(stream(), eps_, weighted_, rotated_), std::move(inputs))};
}

class RopeTable : public RowPrimitive {
 public:
  using RowPrimitive::RowPrimitive;

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const int64_t rows = out.shape(0), length = out.shape(1), turns = out.shape(4);
    return [=, offsets = inputs[0].data<int32_t>(), frequencies = inputs[1].data<float>(),
            table = out.data<float>()] {
      parallel_ranges(rows * length, 16, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          // In double precision: at position 100,000 an angle in float32 is off by 0.004.
          const double position = double(offsets[i / length]) + double(i % length);
          float* cos_sin = table + i * 2 * turns;
          for (int64_t j = 0; j < turns; j++) {
            const double angle = position / double(frequencies[j]);
            cos_sin[j] = float(std::cos(angle));
            cos_sin[turns + j] = float(std::sin(angle));
          }
        }
      });
    };
  }
  const char* name() const override { return "G4RopeTable"; }
};

}  // namespace

mx::array rotate(
    const mx::array& x, const std::optional<mx::array>& weight, std::optional<float> eps,
    const std::optional<mx::array>& cos_sin, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "rotate");
  if (x.ndim() != 4) throw std::invalid_argument("rotate: x must be [B, L, H, D]");
  const int width = x.shape(3);
  std::vector<mx::array> inputs{x};
  if (weight) {
    if (!eps || weight->ndim() != 1 || weight->shape(0) != width) {
      throw std::invalid_argument("rotate: the weight must be [D], with an eps");
    }
    inputs.push_back(in_rows(mx::astype(*weight, mx::float32, stream), stream));
  }
  if (cos_sin) {
    require_float32(*cos_sin, "rotate");
    const auto& shape = cos_sin->shape();
    if (shape.size() != 5 || (shape[0] != 1 && shape[0] != x.shape(0)) || shape[1] != x.shape(1) ||
        shape[3] != 2 || int64_t(shape[2]) * 2 * shape[4] != width) {
      throw std::invalid_argument("rotate: cos_sin must be [B or 1, L, parts, 2, D / (2 * parts)]");
    }
    inputs.push_back(in_rows(*cos_sin, stream));
  }
  return mx::array(
      {x.shape(0), x.shape(2), x.shape(1), width}, mx::float32,
      std::make_shared<Rotate>(stream, eps, weight.has_value(), cos_sin.has_value()),
      std::move(inputs));
}

mx::array rope_table(
    const mx::array& offsets, int length, const mx::array& frequencies,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(frequencies, "rope_table");
  if (length < 0) throw std::invalid_argument("rope_table: the length must not be negative");
  if (offsets.ndim() != 1 || frequencies.ndim() != 1 || offsets.dtype() != mx::int32) {
    throw std::invalid_argument("rope_table: offsets must be [B] of int32, frequencies [F]");
  }
  return mx::array(
      {offsets.shape(0), length, 1, 2, frequencies.shape(0)}, mx::float32,
      std::make_shared<RopeTable>(stream),
      std::vector<mx::array>{in_rows(offsets, stream), in_rows(frequencies, stream)});
}

}  // namespace g4
