#include "matrix.h"

#include <stdexcept>

#include "operands.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

Kind kind_of(const std::string& mode, mx::Dtype dtype) {
  if (mode.empty()) return dtype == mx::float32 ? Kind::f32 : dtype == mx::float16 ? Kind::f16 : Kind::bf16;
  if (mode == "affine") return Kind::affine;
  return mode == "nvfp4" ? Kind::nvfp4 : mode == "mxfp4" ? Kind::mxfp4 : Kind::mxfp8;
}

Float float_of(mx::Dtype dtype) {
  return dtype == mx::float32 ? Float::f32 : dtype == mx::float16 ? Float::f16 : Float::bf16;
}

bool floating(mx::Dtype dtype) {
  return dtype == mx::float32 || dtype == mx::float16 || dtype == mx::bfloat16;
}

bool known(const Quantization& quantization) {
  const auto& [mode, bits, group] = quantization;
  if (mode == "affine") {
    return bits >= 2 && bits <= 8 && bits != 7 && (group == 32 || group == 64 || group == 128);
  }
  return (mode == "mxfp4" && bits == 4 && group == 32) || (mode == "mxfp8" && bits == 8 && group == 32) ||
      (mode == "nvfp4" && bits == 4 && group == 16);
}

int64_t bytes_per_scale(const Weight& weight) {
  if (weight.kind != Kind::affine) return 1;
  return weight.scale_type == Float::f32 ? 4 : 2;
}

}  // namespace

int64_t Matrix::columns() const {
  const int64_t width = weight.shape(-1);
  return quantization.mode.empty() ? width : width * 32 / quantization.bits;
}

void Matrix::check(const char* function, size_t axes) const {
  const auto require = [&](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string(function) + ": " + what);
  };
  require(weight.ndim() == axes, "weight has a wrong number of axes");
  require(weight.shape(-1) > 0, "the matrix has no columns");
  if (quantization.mode.empty()) {
    require(floating(weight.dtype()), "weight must hold floating-point numbers of 16 or 32 bits");
    require(!scales && !biases, "scales need a mode of quantization");
    return;
  }
  require(known(quantization), "unknown quantization");
  require(weight.dtype() == mx::uint32, "quantized weights must be uint32");
  const bool affine = quantization.mode == "affine";
  require(scales && biases.has_value() == affine, "scales or biases are missing, or too many");
  mx::Shape shape = weight.shape();
  shape.back() = int(columns() / quantization.group_size);
  require(
      scales->shape() == shape && columns() % quantization.group_size == 0 &&
          columns() * quantization.bits == int64_t(weight.shape(-1)) * 32,
      "the scales' shape does not fit");
  require(affine ? floating(scales->dtype()) : scales->dtype() == mx::uint8, "wrong type of scales");
  if (!affine) return;
  require(
      biases->shape() == shape && biases->dtype() == scales->dtype(), "biases must be like scales");
}

void Matrix::append_to(std::vector<mx::array>& inputs, mx::Stream stream) const {
  inputs.push_back(in_rows(weight, stream));
  if (scales) inputs.push_back(in_rows(*scales, stream));
  if (biases) inputs.push_back(in_rows(*biases, stream));
}

size_t arrays_of(const Quantization& quantization) {
  return quantization.mode.empty() ? 1 : quantization.mode == "affine" ? 3 : 2;
}

Matrix matrix_at(
    const std::vector<mx::array>& inputs, size_t index, const Quantization& quantization) {
  const size_t count = arrays_of(quantization);
  Matrix matrix{inputs[index], std::nullopt, std::nullopt, quantization};
  if (count > 1) matrix.scales = inputs[index + 1];
  if (count > 2) matrix.biases = inputs[index + 2];
  return matrix;
}

Weight take_weight(
    const std::vector<mx::array>& inputs, size_t& index, const Quantization& quantization) {
  const mx::array& data = inputs[index++];
  Weight weight{};
  weight.kind = kind_of(quantization.mode, data.dtype());
  weight.bits = weight.quantized() ? quantization.bits : 8 * int(data.itemsize());
  weight.group = weight.quantized() ? quantization.group_size : 1;
  weight.rows = data.shape(-2);
  weight.columns = int64_t(data.shape(-1)) * 8 * int64_t(data.itemsize()) / weight.bits;
  weight.data = data.data<uint8_t>();
  if (weight.quantized()) {
    weight.scale_type = float_of(inputs[index].dtype());
    weight.scales = inputs[index++].data<uint8_t>();
  }
  if (weight.kind == Kind::affine) weight.biases = inputs[index++].data<uint8_t>();
  return weight;
}

Weight matrix_after(const Weight& weight, int64_t number) {
  Weight other = weight;
  other.data += number * weight.rows * weight.row_bytes();
  if (!weight.quantized()) return other;
  const int64_t scales = weight.rows * (weight.columns / weight.group) * bytes_per_scale(weight);
  other.scales += number * scales;
  if (weight.biases) other.biases += number * scales;
  return other;
}

}  // namespace g4
