// Norms of rows, and the rotation of a normalized head.
#pragma once

#include "kernels.h"
#include "partial.h"
#include "simd.h"

namespace g4::G4_SET {

inline Vec within(Vec x, float bound) { return within(x, -bound, bound); }

inline float within(float x, float bound) { return x > bound ? bound : x < -bound ? -bound : x; }

/// 1 / rms of a row. Four sums, because one would wait for each addition and round more.
inline float inverse_rms(const float* x, int64_t width, float eps, float bound) {
  Vec sums[4] = {};
  int64_t j = 0;
  for (; j + 4 * lanes <= width; j += 4 * lanes) {
    for (int i = 0; i < 4; i++) {
      const Vec value = within(load(x + j + i * lanes), bound);
      sums[i] += value * value;
    }
  }
  for (; j + lanes <= width; j += lanes) {
    const Vec value = within(load(x + j), bound);
    sums[0] += value * value;
  }
  float total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; j < width; j++) {
    const float value = within(x[j], bound);
    total += value * value;
  }
  return 1 / __builtin_sqrtf(total / float(width) + eps);
}

void rms_norm(
    const float* x, const float* weight, const float* residual, const NormRule& rule, float* y,
    int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++, x += width, y += width) {
    const float inverse = inverse_rms(x, width, rule.eps, rule.bound);
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) {
      Vec value = within(load(x + j), rule.bound) * inverse;
      if (weight) value *= load(weight + j);
      if (residual) value += load(residual + j);
      store(y + j, value * rule.scale);
    }
    for (; j < width; j++) {
      float value = within(x[j], rule.bound) * inverse;
      if (weight) value *= weight[j];
      if (residual) value += residual[j];
      y[j] = value * rule.scale;
    }
    if (residual) residual += width;
  }
}

/// dx = (g - x mean(g x) / rms^2) / rms with g = dy * weight * scale, and 0 where the bound limits x.
void rms_norm_back(
    const float* x, const float* weight, const float* dy, const NormRule& rule, float* dx,
    int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++, x += width, dy += width, dx += width) {
    const float inverse = inverse_rms(x, width, rule.eps, rule.bound);
    Vec sums[2] = {};
    int64_t j = 0;
    for (; j + 2 * lanes <= width; j += 2 * lanes) {
      for (int n = 0; n < 2; n++) {
        const int64_t at = j + n * lanes;
        Vec g = load(dy + at);
        if (weight) g *= load(weight + at);
        sums[n] += g * within(load(x + at), rule.bound);
      }
    }
    float total = sum(sums[0] + sums[1]);
    for (; j < width; j++) total += dy[j] * (weight ? weight[j] : 1) * within(x[j], rule.bound);
    const float share = total / float(width) * inverse * inverse, factor = inverse * rule.scale;
    for (j = 0; j < width; j += lanes) {
      const int64_t some = width - j;
      const Vec value = load_some(x + j, some);
      Vec g = load_some(dy + j, some);
      if (weight) g *= load_some(weight + j, some);
      const Vec change = (g - within(value, rule.bound) * share) * factor;
      const IVec limited = (value > rule.bound) | (value < -rule.bound);
      store_some(dx + j, choose(limited, Vec{}, change), some);
    }
  }
}

/// The mean of x - shift.
inline float mean_of(const float* x, float shift, int64_t width) {
  Vec sums[4] = {};
  int64_t j = 0;
  for (; j + 4 * lanes <= width; j += 4 * lanes) {
    for (int i = 0; i < 4; i++) sums[i] += load(x + j + i * lanes) - shift;
  }
  float total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; j < width; j++) total += x[j] - shift;
  return total / float(width);
}

void layer_norm(
    const float* x, const float* weight, const float* bias, float eps, float least, float* y,
    int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++, x += width, y += width) {
    // A row of equal numbers has no variance, so what is wrong with the mean grows by 1 / sqrt(eps):
    // the second mean is that error.
    const float first = mean_of(x, 0, width), second = mean_of(x, first, width);
    Vec squares[2] = {};
    int64_t j = 0;
    for (; j + 2 * lanes <= width; j += 2 * lanes) {
      for (int n = 0; n < 2; n++) {
        const Vec centered = (load(x + j + n * lanes) - first) - second;
        squares[n] += centered * centered;
      }
    }
    float total = sum(squares[0] + squares[1]);
    for (; j < width; j++) total += ((x[j] - first) - second) * ((x[j] - first) - second);
    const float inverse = 1 / __builtin_sqrtf(total / float(width) + eps);
    for (j = 0; j + lanes <= width; j += lanes) {
      Vec value = ((load(x + j) - first) - second) * inverse * load(weight + j);
      if (bias) value += load(bias + j);
      store(y + j, max(fill(least), value));
    }
    for (; j < width; j++) {
      float value = ((x[j] - first) - second) * inverse * weight[j];
      if (bias) value += bias[j];
      y[j] = value < least ? least : value;
    }
  }
}

/// Two halves rotated by the same angles, in place.
inline void rotate_halves(float* first, float* second, const float* cos_sin, int64_t half) {
  const float *cos = cos_sin, *sin = cos_sin + half;
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const Vec a = load(first + i), b = load(second + i), c = load(cos + i), s = load(sin + i);
    store(first + i, a * c - b * s);
    store(second + i, b * c + a * s);
  }
  for (; i < half; i++) {
    const float a = first[i], b = second[i];
    first[i] = a * cos[i] - b * sin[i];
    second[i] = b * cos[i] + a * sin[i];
  }
}

void rotate(
    const float* x, int64_t x_stride, const float* weight, const NormRule* rule,
    const float* cos_sin, int64_t parts, float* y, int64_t y_stride, int64_t heads, int64_t width) {
  for (int64_t h = 0; h < heads; h++, x += x_stride, y += y_stride) {
    if (rule) {
      rms_norm(x, weight, nullptr, *rule, y, 1, width);
    } else {
      std::memcpy(y, x, width * sizeof(float));
    }
    const int64_t half = cos_sin ? width / (2 * parts) : 0;
    for (int64_t part = 0; cos_sin && part < parts; part++) {
      const int64_t at = part * 2 * half;
      rotate_halves(y + at, y + at + half, cos_sin + at, half);
    }
  }
}

}  // namespace g4::G4_SET
