// Unpacking, and products with few and with many rows.
#include <algorithm>

#include "matrices.h"
#include "tests.h"

namespace g4::test {
namespace {

/// Rounding of float32 sums, as a share of the spread that they would have with random signs.
constexpr double rounding = 1e-5;

struct Product {
  Exact sums;     // [count, rows]
  Exact spreads;  // of sums of the same terms with random signs
};

/// Columns to try: any for numbers as they are, otherwise whole groups.
std::vector<int64_t> widths(const Form& form) {
  if (form.group == 1) return {1, 7, 64, 333};
  return {form.group, 3 * form.group, 640};
}

std::string text(const char* kernel, const Form& form, int64_t rows, int64_t columns) {
  return std::string(kernel) + ", " + form.text() + ", " + std::to_string(rows) + " x " +
      std::to_string(columns);
}

/// x [count, columns] times the transposed matrix.
Product product(const Guarded<float>& x, int64_t count, const Matrix& matrix) {
  const int64_t rows = matrix.weight.rows, columns = matrix.weight.columns;
  Product result{Exact(size_t(count * rows)), Exact(size_t(count * rows))};
  for (int64_t i = 0; i < count; i++) {
    for (int64_t n = 0; n < rows; n++) {
      double sum = 0, squares = 0;
      for (int64_t k = 0; k < columns; k++) {
        const double term = double(x[i * columns + k]) * matrix.exact[size_t(n * columns + k)];
        sum += term;
        squares += term * term;
      }
      result.sums[size_t(i * rows + n)] = sum;
      result.spreads[size_t(i * rows + n)] = std::sqrt(squares);
    }
  }
  return result;
}

void few(const Kernels& set, const Form& form, const Matrix& matrix, int64_t count) {
  const int64_t rows = matrix.weight.rows, columns = matrix.weight.columns;
  Guarded<float> x(count * columns), y(count * rows);
  fill_normal(x);
  fill_untouched(y);
  const int64_t size = set.few_rows.prepared_size(matrix.weight);
  Guarded<float> prepared(count * size);
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
  for (int64_t i = 0; i < count; i++) {
    set.few_rows.prepare(matrix.weight, x.data() + i * columns, prepared.data() + i * size);
    inputs.push_back(prepared.data() + i * size);
    outputs.push_back(y.data() + i * rows);
  }
  const std::string what = text("few_rows", form, rows, columns) + ", " + std::to_string(count);
  const int64_t first = rows / 3, last = rows - rows / 4;
  set.few_rows.multiply(matrix.weight, inputs.data(), count, outputs.data(), first, last);
  for (int64_t i = 0; i < count * rows; i++) {
    if (untouched(y[i]) != (i % rows < first || i % rows >= last)) fail(what + ": wrong columns");
  }
  set.few_rows.multiply(matrix.weight, inputs.data(), count, outputs.data(), 0, rows);
  const auto& [exact, spreads] = product(x, count, matrix);
  compare(what, y.data(), exact.data(), count * rows, rounding, spreads.data());
}

void together(const Together& kernel, const Form& form, const Matrix& matrix, int64_t count) {
  const int64_t rows = matrix.weight.rows, columns = matrix.weight.columns;
  Guarded<float> x(count * columns), y(count * rows), one(rows);
  fill_normal(x);
  fill_untouched(y);
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
  for (int64_t i = 0; i < count; i++) {
    inputs.push_back(x.data() + i * columns);
    outputs.push_back(y.data() + i * rows);
  }
  const auto packed_for = [&](int64_t first, int64_t number) {
    const auto bytes = size_t(kernel.packed_bytes(matrix.weight, number));
    std::vector<float> packed(bytes / sizeof(float) + 16);
    auto* start = reinterpret_cast<uint8_t*>(packed.data());
    start += (64 - reinterpret_cast<uintptr_t>(start) % 64) % 64;
    kernel.pack(matrix.weight, inputs.data() + first, number, start);
    return std::pair(std::move(packed), start);
  };
  const std::string what = text("together", form, rows, columns) + ", " + std::to_string(count);
  const auto all = packed_for(0, count);
  const int64_t first = rows / 3, last = rows - rows / 4;
  kernel.multiply(matrix.weight, all.second, count, outputs.data(), first, last);
  for (int64_t i = 0; i < count * rows; i++) {
    if (untouched(y[i]) != (i % rows < first || i % rows >= last)) fail(what + ": wrong columns");
  }
  kernel.multiply(matrix.weight, all.second, count, outputs.data(), 0, rows);
  const auto& [exact, spreads] = product(x, count, matrix);
  compare(what, y.data(), exact.data(), count * rows, rounding, spreads.data());
  for (int64_t i = 0; i < count; i++) {
    const auto alone = packed_for(i, 1);
    float* const output = one.data();
    kernel.multiply(matrix.weight, alone.second, 1, &output, 0, rows);
    if (std::memcmp(one.data(), outputs[size_t(i)], size_t(rows) * sizeof(float)) != 0) {
      fail(what + ": a row depends on the others");
    }
  }
}

void many(
    const ManyRows& kernel, double rounding, const Form& form, const Matrix& matrix,
    int64_t count) {
  const int64_t rows = matrix.weight.rows, columns = matrix.weight.columns, stride = rows + 5;
  Guarded<float> x(count * columns), y(count * stride), bias(rows);
  fill_normal(x);
  fill_normal(bias);
  fill_untouched(y);
  const Limits narrow{-1.5f, 2.f}, wide{-20.f, 20.f};
  const bool limited = below(2);
  Guarded<uint8_t> packed(kernel.packed_bytes(count, columns));
  for (int64_t panel = 0; panel * kernel.panel_rows < count; panel++) {
    for (int64_t k = 0; k < columns; k += 128) {
      kernel.pack(
          x.data(), count, columns, limited ? narrow : Limits{}, panel, k,
          std::min(k + 128, columns), packed.data());
    }
  }
  const int64_t step = kernel.output_step;
  for (int64_t n = 0; n < rows; n += step) {
    const int64_t last = std::min(n + step, rows);
    const int64_t bytes = kernel.scratch_bytes(count, last - n);
    Guarded<uint8_t> scratch((bytes + 63) / 64 * 64);
    const Finish finish{limited ? wide : Limits{}, limited ? bias.data() + n : nullptr};
    kernel.multiply(
        matrix.weight, packed.data(), count, n, last, scratch.data(), finish, y.data() + n,
        stride);
  }
  if (limited) {
    for (int64_t i = 0; i < x.size(); i++) x[i] = std::clamp(x[i], narrow.low, narrow.high);
  }
  auto [exact, spreads] = product(x, count, matrix);
  std::vector<float> got;
  const std::string what = text("many_rows", form, rows, columns) + ", " + std::to_string(count);
  for (int64_t i = 0; i < count; i++) {
    for (int64_t n = 0; n < stride; n++) {
      const float value = y[i * stride + n];
      if (n < rows) {
        got.push_back(value);
        double& sum = exact[size_t(i * rows + n)];
        if (!limited) continue;
        sum = std::clamp(sum + bias[n], double(wide.low), double(wide.high));
        double& spread = spreads[size_t(i * rows + n)];
        spread = std::hypot(spread, bias[n]);
      } else if (!untouched(value)) {
        fail(what + ": wrote past a row");
      }
    }
  }
  compare(what, got.data(), exact.data(), count * rows, rounding, spreads.data());
}

}  // namespace

void test_unpack(const Kernels& set) {
  for (const Form& form : forms()) {
    for (int64_t columns : widths(form)) {
      const Matrix matrix(form, 3, columns, columns % 2);
      for (int64_t row = 0; row < 3; row++) {
        const int64_t step = form.group == 1 ? 8 : form.group;
        const int64_t first = below((columns + step - 1) / step) * step;
        Guarded<float> got(columns - first);
        set.unpack(matrix.weight, row, first, columns - first, got.data());
        const double* exact = matrix.exact.data() + row * columns + first;
        compare(
            text("unpack", form, row, columns), got.data(), exact, got.size(),
            1e-6 * spread_of(exact, got.size()));
      }
    }
  }
}

void test_few_rows(const Kernels& set) {
  int64_t count = 1;
  for (const Form& form : forms()) {
    for (int64_t columns : widths(form)) {
      for (int64_t rows : {1, 19}) {
        few(set, form, Matrix(form, rows, columns, count % 3), count);
        count = count % 6 + 1;
      }
    }
  }
}

void test_together(const Together& kernel) {
  int64_t count = 1;
  for (const Form& form : forms()) {
    for (int64_t columns : widths(form)) {
      for (int64_t rows : {1, 16, 35}) {
        const Matrix matrix(form, rows, columns, count % 3);
        if (!kernel.takes(matrix.weight)) continue;
        together(kernel, form, matrix, count);
        count = count % 8 + 1;
      }
    }
  }
}

void test_many_rows(const ManyRows& kernel, double rounding) {
  constexpr int64_t counts[] = {1, 3, 16, 20, 49, 100};
  int64_t turn = 0;
  for (const Form& form : forms()) {
    for (int64_t columns : widths(form)) {
      for (int64_t rows : {1, 35}) {
        many(kernel, rounding, form, Matrix(form, rows, columns, turn % 3), counts[turn % 6]);
        turn++;
      }
    }
  }
}

}  // namespace g4::test
