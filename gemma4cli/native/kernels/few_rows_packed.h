// Few rows of input times packed numbers with scales.
//
// The input is laid out once (`prepare`), in the way of an `Input`, so that each vector of weights that
// a format gives meets its vector of input. A scale multiplies the sum of a block, not each weight; the
// biases of affine groups multiply the sums of the input over the groups, which are computed with the
// layout.
#pragma once

#include "packed_words.h"
#include "scales.h"
#include "sizes.h"

namespace g4::G4_SET {

/// How far ahead weights are asked for: the processor's own prefetching is too late for loads that
/// are this far apart in time.
inline constexpr int64_t prefetch_bytes = 2048;

/// Groups whose scales are widened at a time.
inline constexpr int64_t group_chunk = 256;

/// Numbers of the smallest groups, those of nvfp4.
inline constexpr int64_t smallest_group = 16;

/// The input as float32, in the order in which a format gives its numbers.
template <class Format_>
struct FloatInput {
  using Format = Format_;
  static constexpr int64_t block = Format::vectors * lanes;
  /// Floats that a block of the input takes.
  static constexpr int64_t block_floats = block;

  /// Rows of weights that are read together, so that they share the loads of the input. Of one row of
  /// input there are no loads to share, and one row of weights at a time is read fastest.
  static constexpr int rows(int count) {
#if defined(G4_SET_avx512) || defined(G4_SET_neon)
    return count == 1 ? 1 : 2;
#else
    (void)count;
    return 1;
#endif
  }

  /// What the numbers are divided by.
  static float factor_of(const float*, int64_t) { return 1; }

  /// Lay out one block of numbers.
  static void lay_out(const float* x, float, float* out) {
    for (int j = 0; j < Format::vectors; j++) {
      for (int i = 0; i < lanes; i++) {
        out[j * lanes + i] = x[Format::position(i, j)] * Format::factor(j);
      }
    }
  }

  /// The products of one block, summed by lane; x are laid out.
  template <int rows, int count>
  static G4_INLINE void multiply(
      const typename Format::Words* words, const float* const* x, Vec (*part)[count]) {
#pragma GCC unroll 16
    for (int j = 0; j < Format::vectors; j++) {
      for (int r = 0; r < rows; r++) {
        const Vec value = Format::value(words[r], j);
        for (int i = 0; i < count; i++) part[r][i] += value * load(x[i] + j * lanes);
      }
    }
  }
};

template <class Input>
int64_t packed_sums_at(const Weight& weight) {
  return ceil_div(weight.columns, Input::block) * Input::block_floats;
}

template <class Input>
int64_t packed_factor_at(const Weight& weight) {
  return packed_sums_at<Input>(weight) + round_up(weight.columns / weight.group, lanes);
}

/// Floats of a prepared row: the layout, the sums of the groups, and the factor of all.
template <class Input>
int64_t packed_prepared_size(const Weight& weight) {
  return packed_factor_at<Input>(weight) + 1;
}

template <class Input>
void prepare_packed(const Weight& weight, const float* x, float* out) {
  constexpr int64_t block = Input::block;
  const int64_t columns = weight.columns, groups = columns / weight.group;
  const float factor = Input::factor_of(x, columns);
  out[packed_factor_at<Input>(weight)] = factor;
  float padded[block];
  for (int64_t b = 0; b < columns; b += block, out += Input::block_floats) {
    const float* from = x + b;
    if (b + block > columns) {
      for (int64_t k = 0; k < block; k++) padded[k] = b + k < columns ? from[k] : 0;
      from = padded;
    }
    Input::lay_out(from, factor, out);
  }
  for (int64_t g = 0; g < round_up(groups, lanes); g++) {
    Vec total = {};
    if (g < groups) {
      for (int k = 0; k < weight.group; k += lanes) total += load(x + g * weight.group + k);
    }
    out[g] = sum(total) / factor;
  }
}

/// Lane i is table[index[i]]; all indexes are below `lanes`.
G4_INLINE Vec look_up(IVec index, const float* table) {
#if defined(G4_SET_avx512)
  return (Vec)_mm512_permutexvar_ps((__m512i)index, (__m512)load(table));
#elif defined(G4_SET_avx2)
  return (Vec)_mm256_permutevar8x32_ps((__m256)load(table), (__m256i)index);
#else
  Vec result;
  for (int i = 0; i < lanes; i++) result[i] = table[index[i]];
  return result;
#endif
}

/// y[i][n + r * apart] for all i < count and r < rows.
template <class Input, int rows, int count>
void multiply_packed(
    const Weight& weight, const float* const* x, float* const* y, int64_t n, int64_t apart) {
  using Format = typename Input::Format;
  constexpr int64_t block = Input::block, block_bytes = block * Format::bits / 8;
  static_assert(group_chunk * smallest_group % block == 0, "blocks end where a chunk does");
  // Groups are powers of two; a division would take as long as several blocks.
  const int group_shift = __builtin_ctz(unsigned(weight.group));
  const int64_t columns = weight.columns, groups = columns >> group_shift;
  const int64_t whole_blocks = columns / block, blocks = ceil_div(columns, block);
  const int64_t sums_at = packed_sums_at<Input>(weight);
  const uint8_t* at[rows];
  uint8_t ends[rows][block_bytes];
  for (int r = 0; r < rows; r++) {
    at[r] = weight.data + (n + r * apart) * weight.row_bytes();
    if (whole_blocks == blocks) continue;
    const int64_t whole = whole_blocks * block_bytes, rest = weight.row_bytes() - whole;
    for (int64_t i = 0; i < block_bytes; i++) ends[r][i] = i < rest ? at[r][whole + i] : 0;
  }
  IVec group_of_lane;
  for (int i = 0; i < lanes; i++) group_of_lane[i] = Format::position(i, 0) >> group_shift;

  Vec total[rows][count] = {};
  for (int64_t first_group = 0; first_group < groups; first_group += group_chunk) {
    const int64_t chunk = smaller(group_chunk, groups - first_group);
    float scales[rows][group_chunk + 2 * lanes];
    for (int r = 0; r < rows; r++) {
      const int64_t row_groups = (n + r * apart) * groups + first_group;
      for (int64_t g = 0; g < chunk; g += lanes) {
        store(scales[r] + g, scales_at(weight, row_groups + g, chunk - g));
        store(scales[r] + g + lanes, Vec{});
        if (weight.kind != Kind::affine) continue;
        const Vec biases =
            affine_parameters(weight.scale_type, weight.biases, row_groups + g, chunk - g);
        for (int i = 0; i < count; i++) total[r][i] += biases * load(x[i] + sums_at + first_group + g);
      }
    }
    const int64_t first = first_group * weight.group / block;
    const int64_t last = smaller(blocks, (first_group + group_chunk) * weight.group / block);
    for (int64_t b = first; b < last; b++) {
      typename Format::Words words[rows];
      for (int r = 0; r < rows; r++) {
        words[r] = Format::words(b < whole_blocks ? at[r] : ends[r]);
        __builtin_prefetch(at[r] + prefetch_bytes);
        at[r] += block_bytes;
      }
      const float* x_block[count];
      for (int i = 0; i < count; i++) x_block[i] = x[i] + b * Input::block_floats;
      Vec part[rows][count] = {};
      Input::template multiply<rows, count>(words, x_block, part);
      const int64_t group = ((b - first) * block) >> group_shift;
      for (int r = 0; r < rows; r++) {
        const Vec scale = look_up(group_of_lane, scales[r] + group);
        for (int i = 0; i < count; i++) total[r][i] += part[r][i] * scale;
      }
    }
  }
  const int64_t factor_at = packed_factor_at<Input>(weight);
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < count; i++) y[i][n + r * apart] = sum(total[r][i]) * x[i][factor_at];
  }
}

}  // namespace g4::G4_SET
