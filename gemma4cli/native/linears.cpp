#include "linears.h"

#include <memory>
#include <stdexcept>

#include "few_adapted.h"
#include "operands.h"
#include "product.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// What of layers is not among a primitive's inputs.
struct Form {
  Quantization quantization;
  AdaptersForm adapters;
};

std::vector<Form> forms_of(const std::vector<Layer>& layers) {
  std::vector<Form> result;
  for (const auto& [matrix, adapters] : layers) {
    result.push_back({matrix.quantization, adapters.form()});
  }
  return result;
}

std::vector<Adapted> take_layers(
    const std::vector<mx::array>& inputs, const std::vector<Form>& forms) {
  size_t index = 1;
  std::vector<Adapted> layers;
  for (const auto& [quantization, adapters] : forms) {
    layers.push_back(take_adapted(inputs, index, quantization, adapters));
  }
  return layers;
}

/// The input and the layers' arrays, after checks.
std::vector<mx::array> inputs_of(
    const char* function, const mx::array& x, const std::vector<Layer>& layers,
    mx::Stream stream) {
  require_float32(x, function);
  std::vector<mx::array> inputs{in_rows(x, stream)};
  for (const auto& [matrix, adapters] : layers) {
    matrix.check(function, 2);
    if (x.shape(-1) != matrix.columns()) {
      throw std::invalid_argument(std::string(function) + ": widths differ");
    }
    adapters.check(function, matrix, x);
    matrix.append_to(inputs, stream);
    adapters.append_to(inputs, stream);
  }
  return inputs;
}

mx::Shape shape_of(const mx::array& x, const Layer& layer) {
  mx::Shape shape = x.shape();
  shape.back() = layer.matrix.weight.shape(0);
  return shape;
}

void multiply_many(const Adapted& layer, const float* x, int64_t count, float* y) {
  ProductOptions options;
  options.adapted = &layer;
  product(layer.weight, x, count, y, layer.weight.rows, options);
}

class Linears : public RowPrimitive {
 public:
  Linears(mx::Stream stream, std::vector<Form> forms)
      : RowPrimitive(stream), forms_(std::move(forms)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    std::vector<float*> results;
    for (auto& out : outputs) {
      allocate(out);
      results.push_back(out.data<float>());
    }
    const auto layers = take_layers(inputs, forms_);
    const float* x = inputs[0].data<float>();
    const int64_t count = int64_t(inputs[0].size()) / layers[0].weight.columns;
    return [=] {
      FewAdapted few(x, count);
      for (size_t i = 0; i < layers.size(); i++) {
        if (count >= many_rows_from(layers[i].weight)) {
          multiply_many(layers[i], x, count, results[i]);
        } else {
          few.add(layers[i], results[i]);
        }
      }
      few.compute();
    };
  }
  const char* name() const override { return "G4Linears"; }

 private:
  std::vector<Form> forms_;
};

void gated_few(
    const Adapted& gate, const Adapted& up, Curve curve, const float* x, int64_t count, float* y) {
  const int64_t rows = gate.weight.rows;
  const std::unique_ptr<float[]> factors(new float[size_t(count * rows)]);
  FewAdapted few(x, count);
  few.add(gate, y);
  few.add(up, factors.get());
  auto& thin = few.thin();
  const auto& set = kernels();
  const int64_t bytes = bytes_of(gate.weight) + bytes_of(up.weight) + thin.bytes();
  const int64_t step = rows_per_part(gate.weight, bytes), before = thin.parts();
  parallel(before + ceil_div(rows, step), [&](int64_t part) {
    if (part < before) return thin.compute(part);
    const int64_t first = (part - before) * step, last = std::min(first + step, rows);
    for (const auto& product : few.products()) multiply_part(product, thin, first, last);
    for (int64_t i = 0; i < count; i++) {
      float* out = y + i * rows + first;
      set.activate(curve, out, factors.get() + i * rows + first, out, last - first);
    }
  });
}

void gated_many(
    const Adapted& gate, const Adapted& up, Curve curve, const float* x, int64_t count, float* y) {
  const int64_t size = count * gate.weight.rows;
  const std::unique_ptr<float[]> factors(new float[size_t(size)]);
  multiply_many(gate, x, count, y);
  multiply_many(up, x, count, factors.get());
  const auto& set = kernels();
  parallel_rows(size, 1, [&](int64_t first, int64_t last) {
    set.activate(curve, y + first, factors.get() + first, y + first, last - first);
  });
}

class Gated : public RowPrimitive {
 public:
  Gated(mx::Stream stream, std::vector<Form> forms, Curve curve)
      : RowPrimitive(stream), forms_(std::move(forms)), curve_(curve) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    const auto layers = take_layers(inputs, forms_);
    const float* x = inputs[0].data<float>();
    float* y = out.data<float>();
    const int64_t count = int64_t(inputs[0].size()) / layers[0].weight.columns;
    return [=, curve = curve_] {
      const auto compute = count >= many_rows_from(layers[0].weight) ? gated_many : gated_few;
      compute(layers[0], layers[1], curve, x, count, y);
    };
  }
  const char* name() const override { return "G4Gated"; }

 private:
  std::vector<Form> forms_;
  Curve curve_;
};

}  // namespace

std::vector<mx::array> linears(
    const mx::array& x, const std::vector<Layer>& layers, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  if (layers.empty()) return {};
  auto inputs = inputs_of("linears", x, layers, stream);
  std::vector<mx::Shape> shapes;
  for (const auto& layer : layers) shapes.push_back(shape_of(x, layer));
  return mx::array::make_arrays(
      std::move(shapes), std::vector<mx::Dtype>(layers.size(), mx::float32),
      std::make_shared<Linears>(stream, forms_of(layers)), std::move(inputs));
}

mx::array gated(
    const mx::array& x, const Layer& gate, const Layer& up, Curve curve,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  const std::vector<Layer> layers{gate, up};
  auto inputs = inputs_of("gated", x, layers, stream);
  if (gate.matrix.weight.shape(0) != up.matrix.weight.shape(0)) {
    throw std::invalid_argument("gated: the matrices' heights differ");
  }
  return mx::array(
      shape_of(x, gate), mx::float32,
      std::make_shared<Gated>(stream, forms_of(layers), curve), std::move(inputs));
}

}  // namespace g4
