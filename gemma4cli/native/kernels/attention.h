// Attention of a tile of queries to a range of keys, with a running softmax.
//
// Scores lie with the queries side by side: a vector holds one key's scores for `lanes` queries. Keys
// and values are then read where they are, one number at a time for all queries of a tile, and the
// softmax needs no sum within a vector. Queries and results are turned once per tile.
#pragma once

#include "attention_few.h"
#include "kernels.h"
#include "simd.h"
#include "softmax.h"

namespace g4::G4_SET {

// Vectors of queries that share the numbers of a key, and keys that share those of a query: as many
// sums as the registers hold.
#if defined(G4_SET_avx512)
inline constexpr int query_vectors = 2, key_rows = 12, value_columns = 8;
#elif defined(G4_SET_neon)
inline constexpr int query_vectors = 4, key_rows = 6, value_columns = 6;
#elif defined(G4_SET_avx2)
inline constexpr int query_vectors = 2, key_rows = 6, value_columns = 6;
#else
inline constexpr int query_vectors = 2, key_rows = 4, value_columns = 4;
#endif

/// Keys whose scores are computed before their values are added; a multiple of all `key_rows`.
inline constexpr int64_t key_block = 48;

static_assert(attention_rows % (query_vectors * lanes) == 0, "tiles are divided into these");
static_assert(key_block * query_vectors * lanes + lanes <= attention_scores);
static_assert(key_block <= unpacked_keys);

/// The queries of a tile that are computed together.
template <int Vectors>
struct Queries {
  static constexpr int count = Vectors * lanes;
  float* turned;    // [width][count]
  float* results;   // [width][count]: sums of values
  Vec top[Vectors];    // the largest score so far
  Vec total[Vectors];  // the sum of exp(score - top)
  IVec low[Vectors], high[Vectors];  // the keys that each query sees
  int64_t sees_all_from, sees_all_to;    // keys that all see
  int64_t sees_any_from, sees_any_to;    // keys that some see
};

/// scores[n][i] = key n . query i
template <int Vectors, int Rows>
inline void score_rows(
    const float* keys, int64_t stride, const float* queries, int64_t width, float* scores) {
  constexpr int count = Vectors * lanes;
  Vec sums[Rows][Vectors] = {};
  for (int64_t d = 0; d < width; d++) {
    Vec query[Vectors];
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; i++) query[i] = load(queries + d * count + i * lanes);
#pragma GCC unroll 16
    for (int n = 0; n < Rows; n++) {
      const Vec key = fill(keys[n * stride + d]);
#pragma GCC unroll 4
      for (int i = 0; i < Vectors; i++) sums[n][i] += key * query[i];
    }
  }
#pragma GCC unroll 16
  for (int n = 0; n < Rows; n++) {
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; i++) store(scores + n * count + i * lanes, sums[n][i]);
  }
}

template <int Vectors>
inline void score_block(
    const float* keys, int64_t stride, int64_t block, const float* queries, int64_t width,
    float* scores) {
  constexpr int count = Vectors * lanes;
  int64_t n = 0;
  for (; n + key_rows <= block; n += key_rows) {
    score_rows<Vectors, key_rows>(keys + n * stride, stride, queries, width, scores + n * count);
  }
  for (; n + 4 <= block; n += 4) {
    score_rows<Vectors, 4>(keys + n * stride, stride, queries, width, scores + n * count);
  }
  for (; n < block; n++) {
    score_rows<Vectors, 1>(keys + n * stride, stride, queries, width, scores + n * count);
  }
}

/// results[d][i] += sum of weights[n][i] * value n's number d, for `Columns` numbers.
template <int Vectors, int Columns>
inline void add_columns(
    const float* values, int64_t stride, int64_t block, const float* weights, float* results) {
  constexpr int count = Vectors * lanes;
  Vec sums[Columns][Vectors];
#pragma GCC unroll 16
  for (int d = 0; d < Columns; d++) {
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; i++) sums[d][i] = load(results + d * count + i * lanes);
  }
  for (int64_t n = 0; n < block; n++) {
    Vec weight[Vectors];
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; i++) weight[i] = load(weights + n * count + i * lanes);
#pragma GCC unroll 16
    for (int d = 0; d < Columns; d++) {
      const Vec value = fill(values[n * stride + d]);
#pragma GCC unroll 4
      for (int i = 0; i < Vectors; i++) sums[d][i] += value * weight[i];
    }
  }
#pragma GCC unroll 16
  for (int d = 0; d < Columns; d++) {
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; i++) store(results + d * count + i * lanes, sums[d][i]);
  }
}

template <int Vectors>
inline void add_values(
    const float* values, int64_t stride, int64_t block, int64_t width, const float* weights,
    float* results) {
  constexpr int count = Vectors * lanes;
  int64_t d = 0;
  for (; d + value_columns <= width; d += value_columns) {
    add_columns<Vectors, value_columns>(values + d, stride, block, weights, results + d * count);
  }
  for (; d + 4 <= width; d += 4) {
    add_columns<Vectors, 4>(values + d, stride, block, weights, results + d * count);
  }
  for (; d < width; d++) {
    add_columns<Vectors, 1>(values + d, stride, block, weights, results + d * count);
  }
}

inline bool any(IVec which) { return sum(choose(which, fill(1), fill(0))) != 0; }

/// Scores to weights exp(score - top); `top` and what was summed before follow the new maximum.
template <int Vectors>
inline void weigh(Queries<Vectors>& queries, float* scores, int64_t block, int64_t width) {
  constexpr int count = Queries<Vectors>::count;
  Vec shrink[Vectors];
  bool changed = false;
  for (int i = 0; i < Vectors; i++) {
    Vec top = queries.top[i];
    // The score is the second operand: then NaN is kept.
    for (int64_t n = 0; n < block; n++) top = max(top, load(scores + n * count + i * lanes));
    changed |= any(top != queries.top[i]);
    shrink[i] = weight_of(queries.top[i] - top);
    Vec total = {};
    for (int64_t n = 0; n < block; n++) {
      const Vec weight = weight_of(load(scores + n * count + i * lanes) - top);
      total += weight;
      store(scores + n * count + i * lanes, weight);
    }
    queries.total[i] = queries.total[i] * shrink[i] + total;
    queries.top[i] = top;
  }
  if (!changed) return;
  for (int64_t d = 0; d < width; d++) {
    for (int i = 0; i < Vectors; i++) {
      float* at = queries.results + d * count + i * lanes;
      store(at, load(at) * shrink[i]);
    }
  }
}

/// Scores of keys that a query does not see become -infinity.
template <int Vectors>
inline void hide_outside(const Queries<Vectors>& queries, float* scores, int64_t first, int64_t block) {
  const Vec hidden = fill(-__builtin_inff());
  for (int64_t n = 0; n < block; n++) {
    const int32_t key = int32_t(first + n);
    for (int i = 0; i < Vectors; i++) {
      float* at = scores + n * Queries<Vectors>::count + i * lanes;
      store(at, choose((queries.low[i] <= key) & (queries.high[i] > key), load(at), hidden));
    }
  }
}

inline void hide_masked(
    const AttentionTile& tile, int64_t row, int64_t rows, int count, float* scores, int64_t first,
    int64_t block) {
  for (int64_t r = 0; r < rows; r++) {
    const bool* mask = tile.mask + (row + r) / tile.group * tile.mask_token;
    for (int64_t n = 0; n < block; n++) {
      if (!mask[(first + n) * tile.mask_key]) scores[n * count + r] = -__builtin_inff();
    }
  }
}

template <int Vectors>
inline void begin(const AttentionTile& tile, int64_t row, int64_t rows, Queries<Vectors>& queries) {
  constexpr int count = Queries<Vectors>::count;
  std::memset(queries.turned, 0, tile.width * count * sizeof(float));
  std::memset(queries.results, 0, tile.width * count * sizeof(float));
  queries.sees_all_from = queries.sees_any_to = tile.first_key;
  queries.sees_all_to = queries.sees_any_from = tile.last_key;
  for (int i = 0; i < Vectors; i++) {
    queries.top[i] = fill(no_score);
    queries.total[i] = Vec{};
    queries.low[i] = queries.high[i] = IVec{};
  }
  for (int64_t r = 0; r < rows; r++) {
    const int64_t token = (row + r) / tile.group, head = (row + r) % tile.group;
    const float* query = tile.q + token * tile.q_token + head * tile.q_head;
    for (int64_t d = 0; d < tile.width; d++) queries.turned[d * count + r] = query[d] * tile.scale;
    const int64_t low = tile.low ? tile.low[token] : 0, high = tile.high ? tile.high[token] : tile.last_key;
    queries.low[r / lanes][r % lanes] = int32_t(low);
    queries.high[r / lanes][r % lanes] = int32_t(high);
    if (low > queries.sees_all_from) queries.sees_all_from = low;
    if (high < queries.sees_all_to) queries.sees_all_to = high;
    if (low < queries.sees_any_from) queries.sees_any_from = low;
    if (high > queries.sees_any_to) queries.sees_any_to = high;
  }
}

template <int Vectors>
inline void attend_to_block(
    const AttentionTile& tile, int64_t row, int64_t rows, Queries<Vectors>& queries,
    const Block& keys, const Block& values, int64_t first, int64_t block, float* scores) {
  if (first >= queries.sees_any_to || first + block <= queries.sees_any_from) return;
  score_block<Vectors>(keys.rows, keys.stride, block, queries.turned, tile.width, scores);
  if (first < queries.sees_all_from || first + block > queries.sees_all_to) {
    hide_outside(queries, scores, first, block);
  }
  if (tile.mask) hide_masked(tile, row, rows, Queries<Vectors>::count, scores, first, block);
  weigh(queries, scores, block, tile.width);
  add_values<Vectors>(
      values.rows, values.stride, block, tile.width, scores, queries.results);
}

template <int Vectors>
inline void end(const AttentionTile& tile, int64_t row, int64_t rows, const Queries<Vectors>& queries) {
  constexpr int count = Queries<Vectors>::count;
  for (int64_t r = 0; r < rows; r++) {
    const int64_t token = (row + r) / tile.group, head = (row + r) % tile.group;
    const float total = queries.total[r / lanes][r % lanes];
    float* out = tile.out + token * tile.out_token + head * tile.width;
    float factor = 1 / total;
    if (tile.tops) {
      tile.tops[row + r] = queries.top[r / lanes][r % lanes];
      tile.totals[row + r] = total;
      factor = 1;
    }
    for (int64_t d = 0; d < tile.width; d++) out[d] = queries.results[d * count + r] * factor;
  }
}

template <int Vectors>
inline void attend_to_all(const AttentionTile& tile, float* unpacked, float* scratch) {
  constexpr int count = Queries<Vectors>::count, most = attention_rows / count;
  Queries<Vectors> parts[most];
  int64_t used = 0, from = tile.last_key, to = tile.first_key;
  for (; used * count < tile.rows; used++) {
    auto& part = parts[used];
    part.turned = scratch + 2 * used * count * tile.width;
    part.results = part.turned + count * tile.width;
    begin(tile, tile.row + used * count, smaller(count, tile.rows - used * count), part);
    if (part.sees_any_from < from) from = part.sees_any_from;
    if (part.sees_any_to > to) to = part.sees_any_to;
  }
  float* scores = scratch + 2 * used * count * tile.width;
  if (from < tile.first_key) from = tile.first_key;
  for (int64_t first = from; first < smaller(to, tile.last_key); first += key_block) {
    const int64_t block = smaller(key_block, smaller(to, tile.last_key) - first);
    const Block keys =
        block_of(tile.k, tile.k_key, tile.packed_k, first, block, tile.width, unpacked);
    const Block values = block_of(
        tile.v, tile.v_key, tile.packed_v, first, block, tile.width,
        unpacked + unpacked_keys * tile.width);
    for (int64_t i = 0; i < used; i++) {
      const int64_t row = tile.row + i * count;
      attend_to_block(
          tile, row, smaller(count, tile.rows - i * count), parts[i], keys, values, first, block,
          scores);
    }
  }
  for (int64_t i = 0; i < used; i++) {
    end(tile, tile.row + i * count, smaller(count, tile.rows - i * count), parts[i]);
  }
}

void attention(const AttentionTile& tile, float* scratch) {
  float* unpacked = aligned(scratch);
  scratch = aligned(unpacked + 2 * unpacked_keys * tile.width);
  if (attend_to_few(tile, scratch)) return;
  if (tile.rows <= lanes) {
    attend_to_all<1>(tile, unpacked, scratch);
  } else if (tile.rows <= 2 * lanes) {
    attend_to_all<2>(tile, unpacked, scratch);
  } else {
    attend_to_all<query_vectors>(tile, unpacked, scratch);
  }
}

/// The results of one row for `splits` parts of the keys, `stride` rows apart, as one.
void merge(
    const float* tops, const float* totals, const float* results, int64_t splits, int64_t stride,
    int64_t width, float* out) {
  // A vector for each part: this way exp is at hand.
  Vec top = fill(no_score), total = {};
  for (int64_t i = 0; i < splits; i++) top = max(top, fill(tops[i * stride]));
  for (int64_t i = 0; i < splits; i++) total += fill(totals[i * stride]) * exp(tops[i * stride] - top);
  for (int64_t i = 0; i < splits; i++) {
    const Vec share = exp(tops[i * stride] - top) / total;
    const float* part = results + i * stride * width;
    int64_t d = 0;
    for (; d + lanes <= width; d += lanes) {
      const Vec before = i == 0 ? Vec{} : load(out + d);
      store(out + d, before + load(part + d) * share);
    }
    for (; d < width; d++) out[d] = (i == 0 ? 0 : out[d]) + part[d] * share[0];
  }
}

}  // namespace g4::G4_SET
