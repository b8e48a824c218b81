// The kernels' interface: plain pointers and sizes, one table of functions per instruction set.
//
// Nothing here knows MLX or Python. All activations are float32; weights are read in the type they
// are stored in. Functions compute the rows or columns that they are given, so that callers decide
// how the work is divided among threads.
#pragma once

#include <cstdint>

#include "sizes.h"

namespace g4 {

/// How the numbers of a matrix are stored.
enum class Kind : uint8_t { f32, f16, bf16, affine, mxfp4, mxfp8, nvfp4 };

/// The type of an affine matrix's scales and biases.
enum class Float : uint8_t { f32, f16, bf16 };

/// A matrix of weights, one row per output, as MLX stores it.
struct Weight {
  Kind kind;
  Float scale_type;  // of affine matrices; the others have one byte per scale
  int bits;          // per number: 2, 3, 4, 5, 6 or 8; 16 or 32 if it is not quantized
  int group;         // numbers of a row that share a scale
  int64_t rows;
  int64_t columns;
  const uint8_t* data;    // rows * row_bytes()
  const uint8_t* scales;  // rows * columns / group
  const uint8_t* biases;  // of affine matrices, like the scales

  G4_INLINE int64_t row_bytes() const { return columns * bits / 8; }
  G4_INLINE bool quantized() const { return kind >= Kind::affine; }
};

/// A function of one number; gelu is the form with tanh.
enum class Curve : uint8_t { exp, tanh, sigmoid, silu, gelu };

/// How a row is normalized: numbers are limited to +-bound before.
struct NormRule {
  float eps;
  float scale;  // of the result
  float bound;
};

/// Numbers outside are moved to the limit.
struct Limits {
  float low = -__builtin_inff();
  float high = __builtin_inff();
};

/// What happens to the results of a product: the bias is added, then the limits apply.
struct Finish {
  Limits limits;
  const float* bias = nullptr;  // one per output, or null
};

/// What an adapter makes of the results of a product: y = (y + b h) * share + bias.
struct Addition {
  Weight b{};                    // [outputs, rank], not quantized; without columns there is no b h
  const float* share = nullptr;  // one per output, or null
  const float* bias = nullptr;   // one per output, or null
};

/// A way to multiply few rows of x: each is laid out once, and the weights are read as they are.
struct FewRows {
  /// Floats of a row of input that `prepare` has laid out for `multiply`, a multiple of 16.
  /// Matrices of the same kind, bits, group size and columns have the same layout.
  int64_t (*prepared_size)(const Weight& weight);

  /// Lay out a row of input, of `weight.columns` numbers.
  void (*prepare)(const Weight& weight, const float* x, float* out);

  /// y[i][n] = sum_k x[i][k] * weight[n, k] for i < count and first <= n < last, where x[i] are
  /// prepared rows, best at multiples of 64 bytes.
  void (*multiply)(
      const Weight& weight, const float* const* x, int64_t count, float* const* y, int64_t first,
      int64_t last);
};

/// A way to multiply few rows of x that are laid out together: some of them take as long as one.
struct Together {
  int64_t most;  // rows of x up to which this is faster than `ManyRows`, by measurement

  /// Whether a matrix can be multiplied in this way. Those of the same bits, group size and columns
  /// have the same layout.
  bool (*takes)(const Weight& weight);

  /// Space for `count` rows of x, a multiple of 64.
  int64_t (*packed_bytes)(const Weight& weight, int64_t count);

  /// Lay out rows of x, of `weight.columns` numbers, at a multiple of 64 bytes.
  void (*pack)(const Weight& weight, const float* const* x, int64_t count, uint8_t* packed);

  /// y[i][n] = sum_k x[i][k] * weight[n, k] for i < count and first <= n < last.
  void (*multiply)(
      const Weight& weight, const uint8_t* packed, int64_t count, float* const* y, int64_t first,
      int64_t last);
};

/// A way to multiply many rows of x: they are packed once, in panels, and then multiplied by blocks
/// of rows of weights, each unpacked into the cache of one thread.
struct ManyRows {
  int64_t fewest;        // rows of x from which this is faster than `few_rows`, by measurement
  int64_t panel_rows;    // rows of x that are packed together
  int64_t output_step;   // blocks have multiples of so many rows of weights
  int64_t most_outputs;  // and at most so many

  /// Space for x packed.
  int64_t (*packed_bytes)(int64_t rows, int64_t columns);

  /// Pack columns [first, last) of a panel; `first` is a multiple of 64, `last` too or the end.
  void (*pack)(
      const float* x, int64_t rows, int64_t columns, Limits limits, int64_t panel, int64_t first,
      int64_t last, uint8_t* packed);

  /// Space that `multiply` needs for `count` rows of weights.
  int64_t (*scratch_bytes)(int64_t rows, int64_t count);

  /// Outputs [first, last) of all rows; `y` and the bias are those of output `first`.
  void (*multiply)(
      const Weight& weight, const uint8_t* packed, int64_t rows, int64_t first, int64_t last,
      uint8_t* scratch, const Finish& finish, float* y, int64_t stride);
};

/// Rows of numbers in affine groups with float32 scales, as MLX quantizes them; strides count bytes.
struct PackedRows {
  const uint8_t* data;  // null if there are none
  const uint8_t *scales, *biases;
  int64_t row, scale_row, bias_row;  // from one row to the next
  int bits, group;
};

/// Queries of heads that share keys and values, and the keys of one of their rows.
///
/// Row r of the tile is query r / group of head r % group; pointers are those of the first key's,
/// query's and head's. Strides count numbers.
struct AttentionTile {
  const float* q;
  int64_t q_token, q_head;
  const float* k;
  int64_t k_key;
  const float* v;
  int64_t v_key;
  PackedRows packed_k, packed_v;  // instead of `k` and `v`
  int64_t width;  // of a head
  float scale;
  int64_t group;
  int64_t row, rows;            // at most attention_rows
  int64_t first_key, last_key;  // keys in [first_key, last_key)
  const int32_t *low, *high;    // of each query: it sees keys in [low, high); null for all
  const bool* mask;             // or null
  int64_t mask_token, mask_key;
  float* out;
  int64_t out_token;
  // For a part of the keys: each row's largest score and the sum of exp(score - largest); the
  // results are then not divided by the sum. Null for all keys.
  float *tops, *totals;
};

/// Rows of a tile at most: enough that reading keys and values from memory takes less time than the
/// products.
inline constexpr int attention_rows = 128;

/// Numbers of a tile's scores that are kept at a time, at most, with the gaps that align them.
inline constexpr int64_t attention_scores = 64 * 64;

/// Keys of a tile that are unpacked at a time, at most, and so values.
inline constexpr int64_t unpacked_keys = 64;

/// Numbers of scratch memory for a tile: unpacked keys and values, queries, results and scores.
constexpr G4_INLINE int64_t attention_scratch(int64_t width) {
  return 2 * (unpacked_keys + attention_rows) * width + attention_scores;
}

/// One head of the audio tower's attention. Query t sees keys [t - before, t + after] below `length`
/// with the score cap * tanh((q * q_scale) . (k * k_scale + relative) / cap), where the relative
/// position's index is `nearest` for the query's own key, and less for earlier ones; where there is
/// none, it is zero.
struct LocalTile {
  const float *q, *k, *v;
  int64_t q_token, k_token, v_token;
  const float* q_scale;  // [width]
  float k_scale;
  const float* relative;
  int64_t relative_stride, distances, nearest;
  int64_t width, length, before, after;
  float cap;
  float* out;
  int64_t out_token;
};

/// Numbers of scratch memory for local attention: a query, and the scores in whole vectors.
constexpr G4_INLINE int64_t local_scratch(int64_t width, int64_t before, int64_t after) {
  return width + before + 1 + after + 64;
}

/// A 3 x 3 convolution with stride 2 of x [rows, columns, channels], which has zeros around it.
struct Convolution {
  const float* x;
  int64_t rows, columns, channels;
  const float* weight;  // [outputs, 3, 3, channels]
  int64_t outputs;
  float* y;  // [(rows + 1) / 2, (columns + 1) / 2, outputs]
};

/// Outputs of a convolution that are computed together, at most.
inline constexpr int64_t convolution_outputs = 64;

/// Numbers of scratch memory for a convolution: weights, inputs and results of a row.
constexpr G4_INLINE int64_t convolution_scratch(const Convolution& task) {
  const int64_t positions = (task.columns + 1) / 2;
  return 9 * task.channels * (task.outputs + convolution_outputs + positions) +
      positions * convolution_outputs;
}

/// The functions of one instruction set.
struct Kernels {
  const char* name;

  /// Numbers [first, first + count) of a row of `weight` as float32; both are multiples of the
  /// group size, or of 8 where it is not quantized, but for the end of the row.
  void (*unpack)(const Weight& weight, int64_t row, int64_t first, int64_t count, float* out);

  FewRows few_rows;
  ManyRows many_rows;

  /// y[i][n] = (y[i][n] + sum_j h[i, j] * b[n, j]) * share[n] + bias[n] for i < count and first <= n <
  /// last. Rows of y may be anywhere, those of h are as long as the rank.
  void (*add_low_rank)(
      const Addition& addition, const float* h, int64_t count, float* const* y, int64_t first,
      int64_t last);

  /// Products with the matrix as it is, not transposed: y[i, n] = sum_k x[i, k] * weight[k, n].
  ManyRows many_rows_by_columns;

  /// Places of the numbers that are not at most `limit`, in order, and how many: all those above it,
  /// and NaN; all numbers if it is NaN. `places` has room for `count`.
  int64_t (*select_above)(const float* x, int64_t count, float limit, int32_t* places);

  /// y = (residual + x / rms(x) * weight) * scale for each row; `weight` and `residual` may be null.
  /// `y` may be `x` or `residual`.
  void (*rms_norm)(
      const float* x, const float* weight, const float* residual, const NormRule& rule, float* y,
      int64_t rows, int64_t width);

  /// The gradient of x for that of y, `dy`, by `rms_norm`. `dx` may be `dy`.
  void (*rms_norm_back)(
      const float* x, const float* weight, const float* dy, const NormRule& rule, float* dx,
      int64_t rows, int64_t width);

  /// y = (x - mean(x)) / deviation(x) * weight + bias for each row, or `least` where that is more;
  /// `bias` may be null. `y` may be `x`.
  void (*layer_norm)(
      const float* x, const float* weight, const float* bias, float eps, float least, float* y,
      int64_t rows, int64_t width);

  /// The heads of one token, each normalized by `rule` if it is not null and then rotated.
  ///
  /// `cos_sin` [parts, 2, width / (2 * parts)], or null for no rotation, holds the cosines and sines
  /// of each part of a head, whose first half is turned towards the second.
  void (*rotate)(
      const float* x, int64_t x_stride, const float* weight, const NormRule* rule,
      const float* cos_sin, int64_t parts, float* y, int64_t y_stride, int64_t heads,
      int64_t width);

  /// out = softmax(scale * q k) v for the rows and keys of a tile. A query must see a key.
  void (*attention)(const AttentionTile& tile, float* scratch);

  /// A row of weights p of attention and the gradient of its scores, from what keys [low, high) give
  /// with the query, `p`, and values with the gradient of the result, `ds`; zeros for all other keys
  /// of `count` and those whose `mask` is false, if there is one.
  void (*attention_back)(
      float* p, float* ds, int64_t low, int64_t high, int64_t count, const bool* mask,
      int64_t mask_key, float scale);

  /// The results of one row for `splits` parts of the keys, which are `stride` rows apart, as one.
  void (*merge)(
      const float* tops, const float* totals, const float* results, int64_t splits, int64_t stride,
      int64_t width, float* out);

  /// Queries [first, last) of one head. A query that sees no key gets zeros.
  void (*local_attention)(const LocalTile& tile, int64_t first, int64_t last, float* scratch);

  /// Rows [first, last) of a convolution's results; there are half as many as of x, rounded up.
  void (*convolve)(const Convolution& task, int64_t first, int64_t last, float* scratch);

  /// y[t, c] = sum over k of weight[k, c] * x[t - taps + 1 + k, c] for rows [first, last); x is zero
  /// before its first row.
  void (*convolve_past)(
      const float* x, const float* weight, int64_t taps, int64_t channels, float* y, int64_t first,
      int64_t last);

  /// y = curve(x) * factor; `factor` may be null. `y` may be `x` or `factor`.
  void (*activate)(Curve curve, const float* x, const float* factor, float* y, int64_t count);

  /// The gradients of x and of the factor for that of y, `dy`, by `activate`; without a factor,
  /// `dfactor` is null.
  void (*activate_back)(
      Curve curve, const float* x, const float* factor, const float* dy, float* dx, float* dfactor,
      int64_t count);

  /// y = tanh(x / cap) * cap, and NaN where x is infinite. `y` may be `x`.
  void (*softcap)(const float* x, float cap, float* y, int64_t count);
};

#if defined(G4_HAS_AMX)
/// Products in tiles of bfloat16 for processors with AMX: as exact as float32, and with x and the
/// weights rounded to bfloat16.
extern const ManyRows amx_many_rows, amx_rounded_many_rows;

/// Products with few rows in tiles of whole numbers, the results as exact as with float32.
extern const Together amx_few_rows;

/// Run each kind of AMX's instructions once. Traps where they do not work.
void try_amx();
#endif

/// The best set for this processor, or the one that a test has chosen.
const Kernels& kernels();

/// Use another set from here on. Throws std::invalid_argument if it was not built or the processor
/// lacks it.
void use_instruction_set(const char* name);

/// The set with this name, or null if it was not built or the processor lacks it.
const Kernels* kernels_named(const char* name);

}  // namespace g4
