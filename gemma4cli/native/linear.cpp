#include "linear.h"

#include <algorithm>
#include <stdexcept>

#include "few_adapted.h"
#include "operands.h"
#include "product.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Rows of the last axis as a matrix.
mx::array as_rows(const mx::array& x, mx::Stream stream) {
  return mx::reshape(x, {int(row_count(x)), x.shape(-1)}, stream);
}

/// a^T b for a [M, N] and b [M, K]: the sum over M of the rows' products, [N, K].
mx::array transposed_product(const mx::array& a, const mx::array& b, mx::Stream stream) {
  const auto by_columns = [&](const mx::array& x, const mx::array& matrix) {
    return linear_by_columns(mx::transpose(x, stream), {matrix, {}, {}, {}}, stream);
  };
  // Turning the narrower of the two takes less time.
  return a.shape(1) <= b.shape(1) ? by_columns(a, b)
                                  : mx::transpose(by_columns(b, a), stream);
}

/// The gradient for a matrix of plain numbers [N, K], from those of rows [..., N] and [..., K].
mx::array matrix_gradient(
    const mx::array& matrix, const mx::array& rows, const mx::array& columns, mx::Stream stream) {
  if (matrix.dtype() != mx::float32) {
    throw std::invalid_argument("only matrices of float32 have gradients");
  }
  return transposed_product(as_rows(rows, stream), as_rows(columns, stream), stream);
}

class Linear : public RowPrimitive {
 public:
  Linear(mx::Stream stream, Quantization quantization, AdaptersForm adapters, bool clips)
      : RowPrimitive(stream),
        quantization_(std::move(quantization)),
        adapters_(std::move(adapters)),
        clips_(clips) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 1;
    const Adapted matrix = take_adapted(inputs, index, quantization_, adapters_);
    const float* clip = clips_ ? inputs[index++].data<float>() : nullptr;
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = int64_t(out.size()) / std::max<int64_t>(1, matrix.weight.rows);
    return [=] {
      if (clip || count >= many_rows_from(matrix.weight)) {
        ProductOptions options;
        options.adapted = &matrix;
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

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    if (clips_ || !adapters_.is_bias()) no_gradient(name(), 0);
    std::vector<mx::array> gradients;
    for (int number : argnums) {
      if (number == 0) {
        const Matrix matrix = matrix_at(primals, 1, quantization_);
        gradients.push_back(linear_by_columns(cotangents[0], matrix, stream()));
      } else if (number == 1 && quantization_.mode.empty()) {
        gradients.push_back(matrix_gradient(primals[1], cotangents[0], primals[0], stream()));
      } else {
        no_gradient(name(), number);
      }
    }
    return gradients;
  }

 private:
  Quantization quantization_;
  AdaptersForm adapters_;
  bool clips_;
};

class LinearByColumns : public RowPrimitive {
 public:
  LinearByColumns(mx::Stream stream, Quantization quantization)
      : RowPrimitive(stream), quantization_(std::move(quantization)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 1;
    const Weight weight = take_weight(inputs, index, quantization_);
    return [weight, x = inputs[0].data<float>(), y = out.data<float>(), rows = row_count(out)] {
      product_by_columns(weight, x, rows, y);
    };
  }
  const char* name() const override { return "G4LinearByColumns"; }

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    std::vector<mx::array> gradients;
    for (int number : argnums) {
      if (number == 0) {
        gradients.push_back(
            linear(cotangents[0], matrix_at(primals, 1, quantization_), {}, stream()));
      } else if (number == 1 && quantization_.mode.empty()) {
        gradients.push_back(matrix_gradient(primals[1], primals[0], cotangents[0], stream()));
      } else {
        no_gradient(name(), number);
      }
    }
    return gradients;
  }

 private:
  Quantization quantization_;
};

}  // namespace

mx::array linear(
    const mx::array& x, const Matrix& matrix, const LinearOptions& options,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "linear");
  matrix.check("linear", 2);
  if (x.shape(-1) != matrix.columns()) throw std::invalid_argument("linear: widths differ");
  const auto& [clip, adapters] = options;
  if (clip && (clip->dtype() != mx::float32 || clip->shape() != mx::Shape{4})) {
    throw std::invalid_argument("linear: clip must hold 4 numbers in float32");
  }
  adapters.check("linear", matrix, x);
  if (clip && !adapters.form().is_bias()) {
    throw std::invalid_argument("linear: an adapter has no limits");
  }
  std::vector<mx::array> inputs{in_rows(x, stream)};
  matrix.append_to(inputs, stream);
  adapters.append_to(inputs, stream);
  if (clip) inputs.push_back(in_rows(*clip, stream));
  mx::Shape shape = x.shape();
  shape.back() = matrix.weight.shape(0);
  return mx::array(
      std::move(shape), mx::float32,
      std::make_shared<Linear>(stream, matrix.quantization, adapters.form(), clip.has_value()),
      std::move(inputs));
}

mx::array linear_by_columns(
    const mx::array& x, const Matrix& matrix, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "linear_by_columns");
  matrix.check("linear_by_columns", 2);
  if (x.shape(-1) != matrix.weight.shape(0)) {
    throw std::invalid_argument("linear_by_columns: widths differ");
  }
  std::vector<mx::array> inputs{in_rows(x, stream)};
  matrix.append_to(inputs, stream);
  mx::Shape shape = x.shape();
  shape.back() = int(matrix.columns());
  return mx::array(
      std::move(shape), mx::float32,
      std::make_shared<LinearByColumns>(stream, matrix.quantization), std::move(inputs));
}

}  // namespace g4
