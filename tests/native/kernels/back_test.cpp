// Kernels of gradients, against double precision.
#include <algorithm>
#include <limits>

#include "matrices.h"
#include "tests.h"

namespace g4::test {
namespace {

/// Allow float32's rounding of some operations, as a share of the spread of the exact numbers.
void compare_rounded(const std::string& what, const float* got, const Exact& exact) {
  const int64_t count = int64_t(exact.size());
  compare(what, got, exact.data(), count, 1e-5 * spread_of(exact.data(), count));
}

void by_columns(const ManyRows& kernel, const Form& form, const Matrix& matrix, int64_t count) {
  const int64_t depth = matrix.weight.rows, outputs = matrix.weight.columns, stride = outputs + 5;
  Guarded<float> x(count * depth), y(count * stride);
  fill_normal(x);
  fill_untouched(y);
  Guarded<uint8_t> packed(kernel.packed_bytes(count, depth));
  for (int64_t panel = 0; panel * kernel.panel_rows < count; panel++) {
    for (int64_t k = 0; k < depth; k += 128) {
      kernel.pack(x.data(), count, depth, {}, panel, k, std::min(k + 128, depth), packed.data());
    }
  }
  for (int64_t n = 0; n < outputs; n += kernel.output_step) {
    const int64_t last = std::min(n + kernel.output_step, outputs);
    Guarded<uint8_t> scratch((kernel.scratch_bytes(count, last - n) + 63) / 64 * 64);
    kernel.multiply(
        matrix.weight, packed.data(), count, n, last, scratch.data(), {}, y.data() + n, stride);
  }
  const std::string what = "many_rows_by_columns, " + form.text() + ", " + std::to_string(count) +
      " x " + std::to_string(depth) + " x " + std::to_string(outputs);
  // A quantized weight near zero is a difference of numbers as large as the other weights.
  const double size = spread_of(matrix.exact.data(), int64_t(matrix.exact.size()));
  Exact exact, spreads;
  std::vector<float> got;
  for (int64_t i = 0; i < count; i++) {
    for (int64_t n = 0; n < stride; n++) {
      if (n >= outputs) {
        if (!untouched(y[i * stride + n])) fail(what + ": wrote past a row");
        continue;
      }
      double sum = 0, squares = 0;
      for (int64_t k = 0; k < depth; k++) {
        const double factor = x[i * depth + k], weight = matrix.exact[size_t(k * outputs + n)];
        sum += factor * weight;
        squares += factor * factor * (weight * weight + size * size);
      }
      exact.push_back(sum);
      spreads.push_back(std::sqrt(squares));
      got.push_back(y[i * stride + n]);
    }
  }
  compare(what, got.data(), exact.data(), int64_t(exact.size()), 1e-5, spreads.data());
}

void norm_back(const Kernels& set, int64_t rows, int64_t width, bool weighted) {
  Guarded<float> x(rows * width), weight(width), dy(rows * width), dx(rows * width);
  fill_normal(x, 3);
  fill_normal(weight);
  fill_normal(dy);
  const float infinity = std::numeric_limits<float>::infinity();
  const NormRule rule{1e-6f, 0.7f, width % 2 ? infinity : 4.f};
  Exact exact;
  for (int64_t i = 0; i < rows; i++) {
    const float *row = x.data() + i * width, *given = dy.data() + i * width;
    double squares = 0, share = 0;
    for (int64_t j = 0; j < width; j++) {
      const double value = std::clamp(row[j], -rule.bound, rule.bound);
      squares += value * value;
      share += value * given[j] * (weighted ? weight[j] : 1);
    }
    const double square = squares / double(width) + rule.eps;
    for (int64_t j = 0; j < width; j++) {
      const double value = std::clamp(row[j], -rule.bound, rule.bound);
      const double g = given[j] * double(weighted ? weight[j] : 1);
      const double change = (g - value * share / double(width) / square) / std::sqrt(square);
      exact.push_back(std::fabs(row[j]) > rule.bound ? 0 : change * rule.scale);
    }
  }
  const std::string what =
      "rms_norm_back of " + std::to_string(rows) + " x " + std::to_string(width);
  const float* factor = weighted ? weight.data() : nullptr;
  set.rms_norm_back(x.data(), factor, dy.data(), rule, dx.data(), rows, width);
  compare_rounded(what, dx.data(), exact);
  set.rms_norm_back(x.data(), factor, dy.data(), rule, dy.data(), rows, width);
  compare_rounded(what + " in place", dy.data(), exact);
}

/// A curve's value and its slope.
std::pair<double, double> curve_at(Curve curve, double x) {
  const double share = 1 / (1 + std::exp(-x)), turn = std::sqrt(8 / M_PI);
  const double gate = 1 / (1 + std::exp(-turn * (x + 0.044715 * x * x * x)));
  switch (curve) {
    case Curve::exp:
      return {std::exp(x), std::exp(x)};
    case Curve::tanh:
      return {std::tanh(x), 1 - std::tanh(x) * std::tanh(x)};
    case Curve::sigmoid:
      return {share, share * (1 - share)};
    case Curve::silu:
      return {x * share, share + x * share * (1 - share)};
    case Curve::gelu:
      return {x * gate, gate + x * gate * (1 - gate) * turn * (1 + 3 * 0.044715 * x * x)};
  }
  return {};
}

void activation_back(const Kernels& set, Curve curve, int64_t count, bool multiplied) {
  Guarded<float> x(count), factor(count), dy(count), dx(count), dfactor(count);
  fill_normal(x, 2);
  fill_normal(factor);
  fill_normal(dy);
  Exact first, second;
  for (int64_t i = 0; i < count; i++) {
    const auto [value, slope] = curve_at(curve, x[i]);
    first.push_back(dy[i] * slope * (multiplied ? factor[i] : 1));
    second.push_back(dy[i] * value);
  }
  const std::string what =
      "activate_back " + std::to_string(int(curve)) + " of " + std::to_string(count);
  set.activate_back(
      curve, x.data(), multiplied ? factor.data() : nullptr, dy.data(), dx.data(),
      multiplied ? dfactor.data() : nullptr, count);
  compare_rounded(what, dx.data(), first);
  if (multiplied) compare_rounded(what + ", factor", dfactor.data(), second);
}

void attention_row(const Kernels& set, int64_t count, int64_t low, int64_t high, bool masked) {
  constexpr float scale = 0.3f;
  constexpr int64_t step = 2;  // from one number of the mask to the next
  Guarded<float> p(count), ds(count);
  Guarded<bool> mask((count - 1) * step + 1);
  fill_normal(p, 8);
  fill_normal(ds);
  for (int64_t j = 0; j < count; j++) mask[j * step] = j == low || below(3) > 0;
  Exact weights(static_cast<size_t>(count)), scores(static_cast<size_t>(count));
  double total = 0, share = 0;
  const auto sees = [&](int64_t j) {
    return low <= j && j < high && (!masked || mask[j * step]);
  };
  for (int64_t j = 0; j < count; j++) {
    if (sees(j)) total += weights[size_t(j)] = std::exp(double(scale) * p[j]);
  }
  for (int64_t j = 0; j < count; j++) share += (weights[size_t(j)] /= total) * ds[j];
  for (int64_t j = 0; j < count; j++) {
    scores[size_t(j)] = weights[size_t(j)] * (ds[j] - share) * double(scale);
  }
  set.attention_back(
      p.data(), ds.data(), low, high, count, masked ? mask.data() : nullptr, step, scale);
  const std::string what = "attention_back of " + std::to_string(count);
  compare_rounded(what + ", weights", p.data(), weights);
  compare_rounded(what + ", scores", ds.data(), scores);
}

}  // namespace

void test_many_rows_by_columns(const ManyRows& kernel) {
  constexpr int64_t counts[] = {1, 3, 16, 20, 49, 100}, depths[] = {1, 35, 400};
  int64_t turn = 0;
  for (const Form& form : forms()) {
    for (int64_t columns : {1, 3, 10}) {
      const int64_t width = form.group == 1 ? 33 * columns : form.group * columns;
      by_columns(
          kernel, form, Matrix(form, depths[turn % 3], width, turn % 2), counts[turn % 6]);
      turn++;
    }
  }
}

void test_back(const Kernels& set) {
  for (int64_t width : {5, 8, 64, 333}) {
    norm_back(set, 3, width, true);
    norm_back(set, 1, width, false);
    for (Curve curve : {Curve::exp, Curve::tanh, Curve::sigmoid, Curve::silu, Curve::gelu}) {
      activation_back(set, curve, width, false);
      activation_back(set, curve, width, true);
    }
    attention_row(set, width, 0, width, false);
    attention_row(set, width, width / 3, width - width / 4, true);
  }
}

}  // namespace g4::test
