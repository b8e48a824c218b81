// Kernels of the audio tower.
#include <algorithm>

#include "checks.h"
#include "tests.h"

namespace g4::test {
namespace {

constexpr double rounding = 1e-5;

void compare_rounded(const std::string& what, const Guarded<float>& got, const Exact& exact) {
  const int64_t count = got.size();
  compare(what, got.data(), exact.data(), count, rounding * spread_of(exact.data(), count));
}

void local_attention(const Kernels& set, int64_t length, int64_t before, int64_t after) {
  constexpr int64_t width = 21, stride = width + 2;
  const int64_t distances = before + 1, tokens = length + after + 2;  // the last ones see no key
  Guarded<float> q((tokens - 1) * stride + width), k((length - 1) * stride + width);
  Guarded<float> v((length - 1) * stride + width), q_scale(width);
  Guarded<float> relative(distances * width), out(tokens * width);
  for (auto* each : {&q, &k, &v, &q_scale, &relative}) fill_normal(*each);
  fill_untouched(out);
  const LocalTile tile{
      .q = q.data(), .k = k.data(), .v = v.data(),
      .q_token = stride, .k_token = stride, .v_token = stride,
      .q_scale = q_scale.data(),
      .k_scale = 0.4f,
      .relative = relative.data(),
      .relative_stride = width,
      .distances = distances,
      .nearest = before,
      .width = width,
      .length = length,
      .before = before,
      .after = after,
      .cap = 5,
      .out = out.data(),
      .out_token = width,
  };
  Exact exact(size_t(tokens * width));
  for (int64_t t = 0; t < tokens; t++) {
    const int64_t from = std::max<int64_t>(0, t - before), to = std::min(length, t + after + 1);
    Exact weights;
    double total = 0;
    for (int64_t n = from; n < to; n++) {
      const int64_t index = tile.nearest - (t - n);
      double score = 0;
      for (int64_t d = 0; d < width; d++) {
        const bool known = index >= 0 && index < distances;
        const double key = double(k[n * stride + d]) * tile.k_scale +
            (known ? double(relative[index * width + d]) : 0);
        score += double(q[t * stride + d]) * q_scale[d] * key;
      }
      weights.push_back(std::exp(tile.cap * std::tanh(score / tile.cap)));
      total += weights.back();
    }
    for (int64_t n = from; n < to; n++) {
      for (int64_t d = 0; d < width; d++) {
        exact[size_t(t * width + d)] += weights[size_t(n - from)] / total * v[n * stride + d];
      }
    }
  }
  Guarded<float> scratch(local_scratch(width, before, after));
  const int64_t middle = tokens / 2;
  set.local_attention(tile, middle, tokens, scratch.data());
  set.local_attention(tile, 0, middle, scratch.data());
  compare_rounded("local_attention of " + std::to_string(length), out, exact);
}

void convolve(const Kernels& set, int64_t rows, int64_t columns, int64_t channels, int64_t outputs) {
  const int64_t down = (rows + 1) / 2, across = (columns + 1) / 2;
  Guarded<float> x(rows * columns * channels), weight(outputs * 9 * channels);
  Guarded<float> y(down * across * outputs);
  fill_normal(x);
  fill_normal(weight);
  fill_untouched(y);
  const Convolution task{
      .x = x.data(), .rows = rows, .columns = columns, .channels = channels,
      .weight = weight.data(), .outputs = outputs, .y = y.data()};
  Exact exact(size_t(y.size()));
  for (int64_t at = 0; at < y.size(); at++) {
    const int64_t row = at / (across * outputs), column = at / outputs % across, n = at % outputs;
    for (int64_t k = 0; k < 9; k++) {
      const int64_t r = 2 * row - 1 + k / 3, c = 2 * column - 1 + k % 3;
      if (r < 0 || r >= rows || c < 0 || c >= columns) continue;
      for (int64_t i = 0; i < channels; i++) {
        exact[size_t(at)] += double(x[(r * columns + c) * channels + i]) *
            weight[(n * 9 + k) * channels + i];
      }
    }
  }
  Guarded<float> scratch(convolution_scratch(task));
  set.convolve(task, down / 2, down, scratch.data());
  set.convolve(task, 0, down / 2, scratch.data());
  const std::string size = std::to_string(rows) + " x " + std::to_string(columns);
  compare_rounded("convolve " + size, y, exact);
}

void convolve_past(const Kernels& set, int64_t rows, int64_t taps, int64_t channels) {
  Guarded<float> x(rows * channels), weight(taps * channels), y(rows * channels);
  fill_normal(x);
  fill_normal(weight);
  fill_untouched(y);
  Exact exact(size_t(rows * channels));
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t k = std::max<int64_t>(0, taps - 1 - t); k < taps; k++) {
      for (int64_t c = 0; c < channels; c++) {
        exact[size_t(t * channels + c)] +=
            double(weight[k * channels + c]) * x[(t - taps + 1 + k) * channels + c];
      }
    }
  }
  set.convolve_past(x.data(), weight.data(), taps, channels, y.data(), rows / 2, rows);
  set.convolve_past(x.data(), weight.data(), taps, channels, y.data(), 0, rows / 2);
  compare_rounded("convolve_past of " + std::to_string(rows), y, exact);
}

void layer_norm(const Kernels& set, int64_t width, bool biased, float least) {
  constexpr int64_t rows = 3;
  constexpr float eps = 1e-6f;
  Guarded<float> x(rows * width), weight(width), bias(width), y(rows * width);
  fill_normal(x, 3);
  fill_normal(weight);
  fill_normal(bias);
  Exact exact(size_t(rows * width));
  for (int64_t i = 0; i < rows; i++) {
    const float* row = x.data() + i * width;
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < width; j++) mean += row[j] / double(width);
    for (int64_t j = 0; j < width; j++) variance += (row[j] - mean) * (row[j] - mean) / double(width);
    for (int64_t j = 0; j < width; j++) {
      const double value = (row[j] - mean) / std::sqrt(variance + double(eps)) * weight[j];
      exact[size_t(i * width + j)] =
          std::max(double(least), value + (biased ? double(bias[j]) : 0));
    }
  }
  const float* added = biased ? bias.data() : nullptr;
  set.layer_norm(x.data(), weight.data(), added, eps, least, y.data(), rows, width);
  compare_rounded("layer_norm of " + std::to_string(width), y, exact);
}

}  // namespace

void test_audio(const Kernels& set) {
  local_attention(set, 1, 3, 0);
  local_attention(set, 30, 12, 0);
  local_attention(set, 30, 5, 4);
  convolve(set, 1, 1, 1, 1);
  convolve(set, 7, 10, 1, 37);
  convolve(set, 6, 9, 5, 16);
  convolve_past(set, 2, 5, 7);
  convolve_past(set, 20, 5, 33);
  for (int64_t width : {2, 16, 67, 1024}) {
    layer_norm(set, width, true, -1e30f);
    layer_norm(set, width, false, 0);
  }
}

}  // namespace g4::test
