// Kernels of rows and of single numbers.
#include <algorithm>
#include <limits>

#include "checks.h"
#include "tests.h"

namespace g4::test {
namespace {

/// Compare, with float32's rounding of a few operations allowed.
void compare_rounded(
    const std::string& what, const float* got, const Exact& exact, double rounding = 2e-6) {
  const int64_t count = int64_t(exact.size());
  compare(what, got, exact.data(), count, rounding * spread_of(exact.data(), count));
}

/// One row normalized by `rule`, times `weight` if there is one.
Exact normalized(const float* x, const float* weight, const NormRule& rule, int64_t width) {
  Exact row(static_cast<size_t>(width));
  double squares = 0;
  for (int64_t j = 0; j < width; j++) {
    row[size_t(j)] = std::clamp(x[j], -rule.bound, rule.bound);
    squares += row[size_t(j)] * row[size_t(j)];
  }
  const double rms = std::sqrt(squares / double(width) + rule.eps);
  for (int64_t j = 0; j < width; j++) row[size_t(j)] *= (weight ? weight[j] : 1) / rms;
  return row;
}

void rms_norm(const Kernels& set, int64_t rows, int64_t width, bool weighted, bool residual) {
  Guarded<float> x(rows * width), weight(width), rest(rows * width), y(rows * width);
  fill_normal(x, 3);
  fill_normal(weight);
  fill_normal(rest);
  const float infinity = std::numeric_limits<float>::infinity();
  const NormRule rule{1e-6f, 0.7f, width % 2 ? infinity : 4.f};
  Exact exact;
  for (int64_t i = 0; i < rows; i++) {
    const float* row = x.data() + i * width;
    const Exact values = normalized(row, weighted ? weight.data() : nullptr, rule, width);
    for (int64_t j = 0; j < width; j++) {
      const double added = residual ? double(rest[i * width + j]) : 0;
      exact.push_back((added + values[size_t(j)]) * double(rule.scale));
    }
  }
  const std::string what = "rms_norm of " + std::to_string(rows) + " x " + std::to_string(width);
  const float* factor = weighted ? weight.data() : nullptr;
  const float* added = residual ? rest.data() : nullptr;
  set.rms_norm(x.data(), factor, added, rule, y.data(), rows, width);
  compare_rounded(what, y.data(), exact);
  set.rms_norm(x.data(), factor, added, rule, x.data(), rows, width);
  compare_rounded(what + " in place", x.data(), exact);
}

void rotate(const Kernels& set, int64_t heads, int64_t width, int64_t parts, bool norm) {
  const int64_t x_stride = width + 3, y_stride = width + 1, half = parts ? width / (2 * parts) : 0;
  Guarded<float> x((heads - 1) * x_stride + width), y((heads - 1) * y_stride + width);
  Guarded<float> weight(width), angles(width);
  fill_normal(x);
  fill_normal(weight);
  for (int64_t i = 0; i < parts * half; i++) {
    const int64_t at = i / half * 2 * half + i % half;
    const double angle = normal();
    angles[at] = float(std::cos(angle));
    angles[at + half] = float(std::sin(angle));
  }
  fill_untouched(y);
  const NormRule rule{1e-6f, 1.f, std::numeric_limits<float>::infinity()};
  set.rotate(
      x.data(), x_stride, weight.data(), norm ? &rule : nullptr, parts ? angles.data() : nullptr,
      parts, y.data(), y_stride, heads, width);
  const std::string what = "rotate " + std::to_string(heads) + " heads of " +
      std::to_string(width) + " in " + std::to_string(parts);
  for (int64_t h = 0; h < heads; h++) {
    const float* head = x.data() + h * x_stride;
    Exact exact(head, head + width);
    if (norm) exact = normalized(head, weight.data(), rule, width);
    for (int64_t i = 0; i < parts * half; i++) {
      const int64_t part = i / half * 2 * half, j = i % half;
      double &a = exact[size_t(part + j)], &b = exact[size_t(part + half + j)];
      const double cos = angles[part + j], sin = angles[part + half + j], first = a;
      a = first * cos - b * sin;
      b = b * cos + first * sin;
    }
    compare_rounded(what, y.data() + h * y_stride, exact);
    if (h + 1 < heads && !untouched(y[h * y_stride + width])) fail(what + ": wrote past a head");
  }
}

double curve_at(Curve curve, double x) {
  const double steepness = std::sqrt(8 / M_PI) * (x + 0.044715 * x * x * x);
  switch (curve) {
    case Curve::exp:
      return std::exp(x);
    case Curve::tanh:
      return std::tanh(x);
    case Curve::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Curve::silu:
      return x / (1 + std::exp(-x));
    case Curve::gelu:
      return x / (1 + std::exp(-steepness));
  }
  return 0;
}

void activate(const Kernels& set, Curve curve, int64_t count, bool multiplied) {
  Guarded<float> x(count), factor(count), y(count);
  fill_normal(x, 4);
  fill_normal(factor);
  set.activate(curve, x.data(), multiplied ? factor.data() : nullptr, y.data(), count);
  for (int64_t i = 0; i < count; i++) {
    const double exact = curve_at(curve, x[i]) * (multiplied ? double(factor[i]) : 1);
    // exp(n) has the rounding of n, which is the larger the farther n is from zero.
    const double exponent = std::log(std::fabs(exact) + 1e-37);
    const double allowed = (1e-5 + 1e-7 * std::fabs(exponent)) * std::fabs(exact) + 3e-37;
    if (!(std::fabs(y[i] - exact) <= allowed)) {
      fail("activate " + std::to_string(int(curve)) + " of " + std::to_string(x[i]) + " is " +
           std::to_string(y[i]) + ", not " + std::to_string(exact));
    }
  }
}

}  // namespace

void test_select_above(const Kernels& set) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int64_t count : {1, 16, 101}) {
    for (float limit : {0.5f, 100.f, nan}) {
      Guarded<float> x(count);
      fill_normal(x);
      x[below(count)] = nan;
      x[below(count)] = limit;
      std::vector<int32_t> expected;
      for (int64_t i = 0; i < count; i++) {
        if (!(x[i] <= limit)) expected.push_back(int32_t(i));
      }
      Guarded<int32_t> places(count);
      const int64_t found = set.select_above(x.data(), count, limit, places.data());
      if (!std::equal(expected.begin(), expected.end(), places.data(), places.data() + found)) {
        fail("select_above of " + std::to_string(count));
      }
    }
  }
}

void test_rms_norm(const Kernels& set) {
  for (int64_t width : {1, 5, 16, 64, 127, 1536}) {
    for (int flags = 0; flags < 4; flags++) rms_norm(set, 1 + width % 3, width, flags & 1, flags & 2);
  }
}

void test_rotate(const Kernels& set) {
  for (int64_t width : {4, 12, 64, 256}) {
    for (int64_t parts : {0, 1, 2}) {
      rotate(set, 3, width, parts, true);
      rotate(set, 1, width, parts, false);
    }
  }
}

void test_activate(const Kernels& set) {
  for (Curve curve : {Curve::exp, Curve::tanh, Curve::sigmoid, Curve::silu, Curve::gelu}) {
    for (int64_t count : {1, 15, 64, 1001}) {
      activate(set, curve, count, false);
      activate(set, curve, count, true);
    }
  }
}

void test_softcap(const Kernels& set) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int64_t count : {2, 7, 33}) {
    Guarded<float> x(count), y(count);
    fill_normal(x, 40);
    Exact capped;
    for (int64_t i = 0; i < count; i++) capped.push_back(std::tanh(x[i] / 30.0) * 30.0);
    set.softcap(x.data(), 30, y.data(), count);
    compare_rounded("softcap", y.data(), capped);
    x[0] = infinity;
    x[1] = std::numeric_limits<float>::quiet_NaN();
    set.softcap(x.data(), 30, y.data(), count);
    if (!std::isnan(y[0]) || !std::isnan(y[1])) fail("softcap of infinity or NaN is a number");
  }
}

}  // namespace g4::test
