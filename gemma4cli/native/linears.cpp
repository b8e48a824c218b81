#include "linears.h"

#include <memory>
#include <stdexcept>

#include "few_products.h"
#include "operands.h"
#include "product.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

std::vector<Quantization> quantizations_of(const std::vector<Matrix>& matrices) {
  std::vector<Quantization> result;
  for (const auto& matrix : matrices) result.push_back(matrix.quantization);
  return result;
}

std::vector<Weight> take_weights(
    const std::vector<mx::array>& inputs, const std::vector<Quantization>& quantizations) {
  size_t index = 1;
  std::vector<Weight> weights;
  for (const auto& quantization : quantizations) {
    weights.push_back(take_weight(inputs, index, quantization));
  }
  return weights;
}

/// The input and the matrices' arrays, after checks.
std::vector<mx::array> inputs_of(
    const char* function, const mx::array& x, const std::vector<Matrix>& matrices,
    mx::Stream stream) {
  require_float32(x, function);
  std::vector<mx::array> inputs{in_rows(x, stream)};
  for (const auto& matrix : matrices) {
    matrix.check(function, 2);
    if (x.shape(-1) != matrix.columns()) {
      throw std::invalid_argument(std::string(function) + ": widths differ");
    }
    matrix.append_to(inputs, stream);
  }
  return inputs;
}

mx::Shape shape_of(const mx::array& x, const Matrix& matrix) {
  mx::Shape shape = x.shape();
  shape.back() = matrix.weight.shape(0);
  return shape;
}

/// The input laid out once for all matrices that need the same layout.
class Layouts {
 public:
  Layouts(const float* x, int64_t count) : x_(x), count_(count) {}

  const Input& input_for(const Weight& weight) {
    for (const auto& known : layouts_) {
      if (known->fit(weight)) return known->input();
    }
    layouts_.push_back(std::make_unique<PreparedInput>(weight, x_, count_));
    return layouts_.back()->input();
  }

 private:
  const float* x_;
  int64_t count_;
  std::vector<std::unique_ptr<PreparedInput>> layouts_;
};

class Linears : public RowPrimitive {
 public:
  Linears(mx::Stream stream, std::vector<Quantization> quantizations)
      : RowPrimitive(stream), quantizations_(std::move(quantizations)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    std::vector<float*> results;
    for (auto& out : outputs) {
      allocate(out);
      results.push_back(out.data<float>());
    }
    const auto weights = take_weights(inputs, quantizations_);
    const float* x = inputs[0].data<float>();
    const int64_t count = int64_t(inputs[0].size()) / weights[0].columns;
    return [=] {
      Layouts layouts(x, count);
      std::vector<Product> products;
      for (size_t i = 0; i < weights.size(); i++) {
        const auto& weight = weights[i];
        if (count >= many_rows_from(weight)) {
          product(weight, x, count, results[i], weight.rows);
          continue;
        }
        products.push_back(
            {weight, layouts.input_for(weight), rows_of(results[i], count, weight.rows)});
      }
      multiply(products);
    };
  }
  const char* name() const override { return "G4Linears"; }

 private:
  std::vector<Quantization> quantizations_;
};

void gated_few(
    const Weight& gate, const Weight& up, Curve curve, const float* x, int64_t count, float* y) {
  Layouts layouts(x, count);
  const Input &gate_x = layouts.input_for(gate), &up_x = layouts.input_for(up);
  const std::unique_ptr<float[]> factors(new float[size_t(count * up.rows)]);
  const auto gates = rows_of(y, count, gate.rows), ups = rows_of(factors.get(), count, up.rows);
  const auto& set = kernels();
  const int64_t step = rows_per_part(gate, bytes_of(gate) + bytes_of(up));
  parallel_ranges(gate.rows, step, [&](int64_t first, int64_t last) {
    multiply_part(gate, gate_x, gates.data(), first, last);
    multiply_part(up, up_x, ups.data(), first, last);
    for (int64_t i = 0; i < count; i++) {
      float* out = gates[size_t(i)] + first;
      set.activate(curve, out, ups[size_t(i)] + first, out, last - first);
    }
  });
}

void gated_many(
    const Weight& gate, const Weight& up, Curve curve, const float* x, int64_t count, float* y) {
  const int64_t size = count * gate.rows;
  const std::unique_ptr<float[]> factors(new float[size_t(size)]);
  product(gate, x, count, y, gate.rows);
  product(up, x, count, factors.get(), up.rows);
  const auto& set = kernels();
  parallel_rows(size, 1, [&](int64_t first, int64_t last) {
    set.activate(curve, y + first, factors.get() + first, y + first, last - first);
  });
}

class Gated : public RowPrimitive {
 public:
  Gated(mx::Stream stream, std::vector<Quantization> quantizations, Curve curve)
      : RowPrimitive(stream), quantizations_(std::move(quantizations)), curve_(curve) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const auto weights = take_weights(inputs, quantizations_);
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = int64_t(inputs[0].size()) / weights[0].columns;
    return [=, curve = curve_] {
      const auto compute = count >= many_rows_from(weights[0]) ? gated_many : gated_few;
      compute(weights[0], weights[1], curve, x, count, y);
    };
  }
  const char* name() const override { return "G4Gated"; }

 private:
  std::vector<Quantization> quantizations_;
  Curve curve_;
};

}  // namespace

std::vector<mx::array> linears(
    const mx::array& x, const std::vector<Matrix>& matrices, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  if (matrices.empty()) return {};
  auto inputs = inputs_of("linears", x, matrices, stream);
  std::vector<mx::Shape> shapes;
  for (const auto& matrix : matrices) shapes.push_back(shape_of(x, matrix));
  return mx::array::make_arrays(
      std::move(shapes), std::vector<mx::Dtype>(matrices.size(), mx::float32),
      std::make_shared<Linears>(stream, quantizations_of(matrices)), std::move(inputs));
}

mx::array gated(
    const mx::array& x, const Matrix& gate, const Matrix& up, Curve curve,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  const std::vector<Matrix> matrices{gate, up};
  auto inputs = inputs_of("gated", x, matrices, stream);
  if (gate.weight.shape(0) != up.weight.shape(0)) {
    throw std::invalid_argument("gated: the matrices' heights differ");
  }
  return mx::array(
      shape_of(x, gate), mx::float32,
      std::make_shared<Gated>(stream, quantizations_of(matrices), curve), std::move(inputs));
}

}  // namespace g4
