// Products of many rows of input with a matrix of weights, divided among the threads.
#pragma once

#include "adapter.h"
#include "kernels/kernels.h"

namespace g4 {

/// What a product does besides multiplying: limits of x, then what adapters do, then limits of the
/// results. Those have no effect with an adapter that is more than a bias of all rows.
struct ProductOptions {
  Limits input, output;
  const Adapted* adapted = nullptr;  // with the matrix that is multiplied
};

/// Rows of input from which `product` is faster than reading the weights for each few of them; with a
/// matrix, than `PreparedInput`, which may lay rows out together.
int64_t many_rows_from();
int64_t many_rows_from(const Weight& weight);

/// y[i, n] = sum_k x[i, k] * weight[n, k] for `rows` rows; rows of y are `stride` apart.
///
/// Computes on all threads of the pool; returns when it is done.
void product(
    const Weight& weight, const float* x, int64_t rows, float* y, int64_t stride,
    const ProductOptions& options = {});

/// y[i, k] = sum_n x[i, n] * weight[n, k]: the matrix as it is, not transposed.
void product_by_columns(const Weight& weight, const float* x, int64_t rows, float* y);

/// A matrix of plain numbers, row by row.
Weight as_weight(const float* numbers, int64_t rows, int64_t columns);

/// The transpose of x [rows, columns], on all threads.
void transpose(const float* x, int64_t rows, int64_t columns, float* y);

/// Whether products use AMX where the processor has it; they do unless a test says otherwise.
void use_amx(bool use);
bool amx_in_use();

/// Whether products with AMX round x and the weights to bfloat16, about three times as fast.
void set_bf16_products(bool rounded);

}  // namespace g4
