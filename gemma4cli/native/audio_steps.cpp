#include "audio_steps.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/kernels.h"
#include "operands.h"
#include "scratch.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

class LocalAttention : public RowPrimitive {
 public:
  LocalAttention(mx::Stream stream, const LocalRule& rule, bool has_lengths)
      : RowPrimitive(stream), rule_(rule), has_lengths_(has_lengths) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const mx::array q = with_dense_last_axis(inputs[0], stream());
    const mx::array k = with_dense_last_axis(inputs[1], stream());
    const mx::array v = with_dense_last_axis(inputs[2], stream());
    const auto& relative = inputs[3];
    const int64_t batch = q.shape(0), length = q.shape(1), heads = q.shape(2);
    const auto q_strides = q.strides(), k_strides = k.strides(), v_strides = v.strides();
    LocalTile base{};
    base.q = q.data<float>();
    base.k = k.data<float>();
    base.v = v.data<float>();
    base.q_token = q_strides[1];
    base.k_token = k_strides[1];
    base.v_token = v_strides[1];
    base.q_scale = inputs[4].data<float>();
    base.k_scale = rule_.k_scale;
    base.width = q.shape(3);
    base.relative = relative.data<float>();
    base.relative_stride = heads * base.width;
    base.distances = relative.shape(0);
    base.nearest = rule_.nearest;
    // No more keys than there are: the scratch memory has room for the scores of all.
    base.before = std::min<int64_t>(rule_.before, length);
    base.after = std::min<int64_t>(rule_.after, length);
    base.cap = rule_.cap;
    base.out = out.data<float>();
    base.out_token = heads * base.width;
    const int32_t* lengths = has_lengths_ ? inputs[5].data<int32_t>() : nullptr;
    return [=] {
      constexpr int64_t step = 64;
      const int64_t steps = ceil_div(length, step);
      parallel(batch * heads * steps, [&](int64_t part) {
        const int64_t b = part / steps / heads, head = part / steps % heads;
        LocalTile tile = base;
        tile.q += b * q_strides[0] + head * q_strides[2];
        tile.k += b * k_strides[0] + head * k_strides[2];
        tile.v += b * v_strides[0] + head * v_strides[2];
        tile.relative += head * tile.width;
        tile.length = lengths ? std::min<int64_t>(length, lengths[b]) : length;
        tile.out += b * length * tile.out_token + head * tile.width;
        const int64_t first = part % steps * step;
        float* scratch = thread_numbers(local_scratch(tile.width, tile.before, tile.after));
        kernels().local_attention(tile, first, std::min(length, first + step), scratch);
      });
    };
  }
  const char* name() const override { return "G4LocalAttention"; }

 private:
  LocalRule rule_;
  bool has_lengths_;
};

class Convolve : public RowPrimitive {
 public:
  using RowPrimitive::RowPrimitive;

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const auto &x = inputs[0], &weight = inputs[1];
    const int32_t* ends = inputs.size() > 2 ? inputs[2].data<int32_t>() : nullptr;
    const int64_t batch = x.shape(0), rows = x.shape(1), out_rows = out.shape(1);
    const int64_t out_size = out_rows * out.shape(2) * out.shape(3);
    const Convolution base{
        x.data<float>(),      rows,           x.shape(2),       x.shape(3),
        weight.data<float>(), weight.shape(0), out.data<float>()};
    return [=] {
      // Each part turns the weights for itself: that takes less time than a few rows.
      const int64_t step = std::max<int64_t>(16, out_rows / (8 * ThreadPool::shared().size()));
      const int64_t steps = ceil_div(out_rows, step);
      parallel(batch * steps, [&](int64_t part) {
        const int64_t b = part / steps, first = part % steps * step;
        Convolution task = base;
        task.x += b * rows * task.columns * task.channels;
        task.y += b * out_size;
        if (ends) task.rows = std::min<int64_t>(rows, ends[b]);
        float* scratch = thread_numbers(convolution_scratch(task));
        kernels().convolve(task, first, std::min(out_rows, first + step), scratch);
      });
    };
  }
  const char* name() const override { return "G4Convolve"; }
};

class ConvolvePast : public RowPrimitive {
 public:
  using RowPrimitive::RowPrimitive;

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const int64_t batch = out.shape(0), length = out.shape(1), channels = out.shape(2);
    const int64_t taps = inputs[1].shape(1);
    return [=, x = inputs[0].data<float>(), weight = inputs[1].data<float>(),
            y = out.data<float>()] {
      std::vector<float> turned(taps * channels);
      for (int64_t c = 0; c < channels; c++) {
        for (int64_t k = 0; k < taps; k++) turned[k * channels + c] = weight[c * taps + k];
      }
      constexpr int64_t step = 32;
      const int64_t steps = ceil_div(length, step);
      parallel(batch * steps, [&](int64_t part) {
        const int64_t at = part / steps * length * channels, first = part % steps * step;
        kernels().convolve_past(
            x + at, turned.data(), taps, channels, y + at, first,
            std::min(length, first + step));
      });
    };
  }
  const char* name() const override { return "G4ConvolvePast"; }

  /// What a step had of those before it, each of these gets of those after it.
  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    if (argnums != std::vector<int>{0}) no_gradient(name(), argnums.back());
    const auto backwards = [&](const mx::array& x) {
      return mx::slice(
          x, {0, -1, 0}, {x.shape(0), -x.shape(1) - 1, x.shape(2)}, {1, -1, 1}, stream());
    };
    return {backwards(convolve_past(backwards(cotangents[0]), primals[1], stream()))};
  }
};

mx::array numbers_of_rows(const mx::array& numbers, int rows, mx::Stream stream) {
  if (numbers.dtype() != mx::int32 || numbers.ndim() != 1 || numbers.shape(0) != rows) {
    throw std::invalid_argument("lengths and ends must be [B] of int32");
  }
  return in_rows(numbers, stream);
}

}  // namespace

mx::array local_attention(
    const mx::array& q, const mx::array& k, const mx::array& v, const mx::array& relative,
    const mx::array& q_scale, const LocalRule& rule, const std::optional<mx::array>& lengths,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  for (const auto* each : {&q, &k, &v, &relative, &q_scale}) {
    require_float32(*each, "local_attention");
  }
  if (q.ndim() != 4 || k.shape() != q.shape() || v.shape() != q.shape() || relative.ndim() != 3 ||
      relative.shape(1) != q.shape(2) || relative.shape(2) != q.shape(3) ||
      q_scale.shape() != mx::Shape{q.shape(3)} || rule.before < 0 || rule.after < 0) {
    throw std::invalid_argument(
        "local_attention: q, k and v must be [B, T, H, d], relative [R, H, d], q_scale [d]");
  }
  std::vector<mx::array> inputs{q, k, v, in_rows(relative, stream), in_rows(q_scale, stream)};
  if (lengths) inputs.push_back(numbers_of_rows(*lengths, q.shape(0), stream));
  return mx::array(
      {q.shape(0), q.shape(1), q.shape(2) * q.shape(3)}, mx::float32,
      std::make_shared<LocalAttention>(stream, rule, lengths.has_value()), std::move(inputs));
}

mx::array convolve(
    const mx::array& x, const mx::array& weight, const std::optional<mx::array>& ends,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "convolve");
  require_float32(weight, "convolve");
  if (x.ndim() != 4 || weight.shape() != mx::Shape{weight.shape(0), 3, 3, x.shape(3)}) {
    throw std::invalid_argument("convolve: x must be [B, T, F, C], and weight [N, 3, 3, C]");
  }
  std::vector<mx::array> inputs{in_rows(x, stream), in_rows(weight, stream)};
  if (ends) inputs.push_back(numbers_of_rows(*ends, x.shape(0), stream));
  return mx::array(
      {x.shape(0), (x.shape(1) + 1) / 2, (x.shape(2) + 1) / 2, weight.shape(0)}, mx::float32,
      std::make_shared<Convolve>(stream), std::move(inputs));
}

mx::array convolve_past(const mx::array& x, const mx::array& weight, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "convolve_past");
  require_float32(weight, "convolve_past");
  if (x.ndim() != 3 || weight.ndim() != 3 || weight.shape(0) != x.shape(2) ||
      weight.shape(2) != 1) {
    throw std::invalid_argument("convolve_past: x must be [B, T, C], and weight [C, taps, 1]");
  }
  return mx::array(
      x.shape(), mx::float32, std::make_shared<ConvolvePast>(stream),
      std::vector<mx::array>{in_rows(x, stream), in_rows(weight, stream)});
}

}  // namespace g4
