// The convolutions of the audio tower.
#pragma once

#include "attention.h"
#include "kernels.h"
#include "simd.h"

namespace g4::G4_SET {

/// The inputs of a row of outputs: for each, the 3 x 3 neighbors' channels. Neighbors outside are 0.
inline void gather_patches(const Convolution& task, int64_t row, float* patches) {
  const int64_t width = 3 * task.channels, outputs = (task.columns + 1) / 2;
  for (int64_t column = 0; column < outputs; column++) {
    for (int64_t r = 0; r < 3; r++, patches += width) {
      const int64_t source = 2 * row - 1 + r, first = 2 * column - 1;
      const int64_t skipped = first < 0 ? 1 : 0, taken = smaller(first + 3, task.columns) - first - skipped;
      if (source < 0 || source >= task.rows) {
        std::memset(patches, 0, width * sizeof(float));
        continue;
      }
      std::memset(patches, 0, skipped * task.channels * sizeof(float));
      std::memcpy(
          patches + skipped * task.channels,
          task.x + (source * task.columns + first + skipped) * task.channels,
          taken * task.channels * sizeof(float));
      const int64_t filled = (skipped + taken) * task.channels;
      std::memset(patches + filled, 0, (width - filled) * sizeof(float));
    }
  }
}

void convolve(const Convolution& task, int64_t first, int64_t last, float* scratch) {
  constexpr int count = query_vectors * lanes;
  static_assert(count < convolution_outputs, "there is room for the gap that aligns them");
  const int64_t width = 9 * task.channels, positions = (task.columns + 1) / 2;
  const int64_t groups = ceil_div(task.outputs, count);
  // As queries of attention: vectors of outputs, each of which shares the inputs' numbers.
  float* turned = aligned(scratch);
  float* patches = turned + groups * count * width;
  float* products = patches + positions * width;
  std::memset(turned, 0, groups * count * width * sizeof(float));
  for (int64_t n = 0; n < task.outputs; n++) {
    float* to = turned + n / count * count * width + n % count;
    for (int64_t k = 0; k < width; k++) to[k * count] = task.weight[n * width + k];
  }
  for (int64_t row = first; row < last; row++) {
    gather_patches(task, row, patches);
    float* y = task.y + row * positions * task.outputs;
    for (int64_t group = 0; group < groups; group++) {
      score_block<query_vectors>(
          patches, width, positions, turned + group * count * width, width, products);
      const int64_t n = group * count, size = smaller(count, task.outputs - n) * sizeof(float);
      for (int64_t i = 0; i < positions; i++) {
        std::memcpy(y + i * task.outputs + n, products + i * count, size);
      }
    }
  }
}

void convolve_past(
    const float* x, const float* weight, int64_t taps, int64_t channels, float* y, int64_t first,
    int64_t last) {
  for (int64_t row = first; row < last; row++) {
    // Taps before the first input would read zeros.
    const int64_t skipped = larger(0, taps - 1 - row), used = taps - skipped;
    const float* inputs = x + (row + 1 - used) * channels;
    const float* factors = weight + skipped * channels;
    int64_t c = 0;
    for (; c + lanes <= channels; c += lanes) {
      Vec total = {};
      for (int64_t k = 0; k < used; k++) {
        total += load(inputs + k * channels + c) * load(factors + k * channels + c);
      }
      store(y + row * channels + c, total);
    }
    for (; c < channels; c++) {
      float total = 0;
      for (int64_t k = 0; k < used; k++) {
        total += inputs[k * channels + c] * factors[k * channels + c];
      }
      y[row * channels + c] = total;
    }
  }
}

}  // namespace g4::G4_SET
