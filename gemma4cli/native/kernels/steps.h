// The steps between the products. They are compiled apart from those, so that changes of one kind are
// built soon.
#pragma once

#include "kernels.h"

namespace g4::G4_SET {

void rms_norm(
    const float* x, const float* weight, const float* residual, const NormRule& rule, float* y,
    int64_t rows, int64_t width);

void rms_norm_back(
    const float* x, const float* weight, const float* dy, const NormRule& rule, float* dx,
    int64_t rows, int64_t width);

void layer_norm(
    const float* x, const float* weight, const float* bias, float eps, float least, float* y,
    int64_t rows, int64_t width);

void rotate(
    const float* x, int64_t x_stride, const float* weight, const NormRule* rule,
    const float* cos_sin, int64_t parts, float* y, int64_t y_stride, int64_t heads, int64_t width);

void attention(const AttentionTile& tile, float* scratch);

void attention_back(
    float* p, float* ds, int64_t low, int64_t high, int64_t count, const bool* mask,
    int64_t mask_key, float scale);

void merge(
    const float* tops, const float* totals, const float* results, int64_t splits, int64_t stride,
    int64_t width, float* out);

void local_attention(const LocalTile& tile, int64_t first, int64_t last, float* scratch);

void convolve(const Convolution& task, int64_t first, int64_t last, float* scratch);

void convolve_past(
    const float* x, const float* weight, int64_t taps, int64_t channels, float* y, int64_t first,
    int64_t last);

void activate(Curve curve, const float* x, const float* factor, float* y, int64_t count);
void activate_back(
    Curve curve, const float* x, const float* factor, const float* dy, float* dx, float* dfactor,
    int64_t count);
void softcap(const float* x, float cap, float* y, int64_t count);

}  // namespace g4::G4_SET
