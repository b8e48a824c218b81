#include "matrices.h"

namespace g4::test {
namespace {

/// The value of a number with `exponent` and `mantissa` bits below its sign; there is no infinity.
double decoded(uint32_t bits, int exponent, int mantissa, int bias) {
  const uint32_t low = bits & ((1u << mantissa) - 1);
  const uint32_t high = (bits >> mantissa) & ((1u << exponent) - 1);
  const double sign = bits >> (exponent + mantissa) & 1 ? -1 : 1;
  const double one = std::ldexp(1.0, mantissa);
  if (high == 0) return sign * std::ldexp(low / one, 1 - bias);
  return sign * std::ldexp(1 + low / one, int(high) - bias);
}

/// A random number in `type` to `at`; returns its value.
double put_float(Float type, double spread, uint8_t* at) {
  const float value = float(spread * normal());
  uint32_t word;
  std::memcpy(&word, &value, 4);
  if (type == Float::f32) {
    std::memcpy(at, &word, 4);
    return value;
  }
  uint16_t half = uint16_t(word >> 16);
  if (type == Float::f16) {
    // Exponents around that of the value; now and then a subnormal number.
    const int exponent = below(50) ? std::min(std::max(std::ilogb(value) + 15, 1), 30) : 0;
    half = uint16_t((generator()() & 0x83ff) | uint32_t(exponent) << 10);
  }
  std::memcpy(at, &half, 2);
  return type == Float::f16 ? decoded(half, 5, 10, 15) : decoded(half, 8, 7, 127);
}

Float stored_as(Kind kind) {
  return kind == Kind::f32 ? Float::f32 : kind == Kind::f16 ? Float::f16 : Float::bf16;
}

/// Write `bits` bits of a row of bits.
void put_bits(uint8_t* row, int64_t at, int bits, uint32_t value) {
  for (int i = 0; i < bits; i++, at++) {
    row[at / 8] = uint8_t((row[at / 8] & ~(1u << at % 8)) | (value >> i & 1) << at % 8);
  }
}

}  // namespace

std::string Form::text() const {
  constexpr const char* names[] = {"f32", "f16", "bf16", "affine", "mxfp4", "mxfp8", "nvfp4"};
  constexpr const char* types[] = {"f32", "f16", "bf16"};
  std::string result = names[int(kind)];
  if (kind == Kind::affine) {
    result += " of " + std::to_string(bits) + " bits in groups of " + std::to_string(group) +
        " with scales in " + types[int(scale_type)];
  }
  return result;
}

std::vector<Form> forms() {
  std::vector<Form> result = {
      {Kind::f32, 32}, {Kind::f16, 16}, {Kind::bf16, 16}, {Kind::mxfp4, 4, 32},
      {Kind::mxfp8, 8, 32}, {Kind::nvfp4, 4, 16}};
  for (int bits : {2, 3, 4, 5, 6, 8}) {
    for (int group : {32, 64, 128}) {
      for (Float type : {Float::f32, Float::f16, Float::bf16}) {
        result.push_back({Kind::affine, bits, group, type});
      }
    }
  }
  return result;
}

Matrix::Matrix(const Form& form, int64_t rows, int64_t columns, int64_t gap) {
  weight = {
      .kind = form.kind,
      .scale_type = form.scale_type,
      .bits = form.bits,
      .group = form.group,
      .rows = rows,
      .columns = columns,
      .data = nullptr,
      .scales = nullptr,
      .biases = nullptr};
  exact.resize(size_t(rows * columns));
  data_ = std::make_unique<Guarded<uint8_t>>(rows * weight.row_bytes(), gap);
  weight.data = data_->data();
  if (!weight.quantized()) {
    for (size_t i = 0; i < exact.size(); i++) {
      exact[i] = put_float(stored_as(form.kind), 1, data_->data() + int64_t(i) * form.bits / 8);
    }
    return;
  }
  const bool affine = form.kind == Kind::affine;
  const int64_t size = !affine ? 1 : form.scale_type == Float::f32 ? 4 : 2;
  const int64_t groups = columns / form.group;
  scales_ = std::make_unique<Guarded<uint8_t>>(rows * groups * size, gap);
  biases_ = std::make_unique<Guarded<uint8_t>>(rows * groups * size, gap);
  weight.scales = scales_->data();
  weight.biases = affine ? biases_->data() : nullptr;
  for (int64_t i = 0; i < rows * groups; i++) {
    double scale = 1, bias = 0;
    if (affine) {
      scale = put_float(form.scale_type, 1.0 / (1 << form.bits), scales_->data() + i * size);
      bias = put_float(form.scale_type, 0.5, biases_->data() + i * size);
    } else if (form.kind == Kind::nvfp4) {
      const uint8_t byte = uint8_t(below(0x7f));  // without the one that is not a number
      (*scales_)[i] = byte;
      scale = decoded(byte, 4, 3, 7);
    } else {
      const uint8_t byte = uint8_t(120 + below(10));
      (*scales_)[i] = byte;
      scale = std::ldexp(1.0, byte - 127);
    }
    for (int64_t k = 0; k < form.group; k++) {
      const int64_t at = i / groups * columns + i % groups * form.group + k;
      uint32_t code = generator()() & ((1u << form.bits) - 1);
      double value = code;
      if (form.kind == Kind::mxfp8) {
        code = (code & 0x80) | uint32_t(below(0x7f));
        value = decoded(code, 4, 3, 7);
      } else if (!affine) {
        value = decoded(code, 2, 1, 1);
      }
      uint8_t* row = data_->data() + at / columns * weight.row_bytes();
      put_bits(row, at % columns * form.bits, form.bits, code);
      exact[size_t(at)] = scale * value + bias;
    }
  }
}

}  // namespace g4::test
