// Random matrices of weights in every form, with the exact values of their numbers.
#pragma once

#include <memory>

#include "checks.h"
#include "kernels/kernels.h"

namespace g4::test {

/// A form of weights, as the kernels' Weight has it.
struct Form {
  Kind kind;
  int bits;
  int group = 1;
  Float scale_type = Float::f32;

  std::string text() const;
};

/// All forms that checkpoints have.
std::vector<Form> forms();

struct Matrix {
  Matrix(const Form& form, int64_t rows, int64_t columns, int64_t gap);

  Weight weight;
  Exact exact;  // [rows, columns]

 private:
  std::unique_ptr<Guarded<uint8_t>> data_, scales_, biases_;
};

}  // namespace g4::test
