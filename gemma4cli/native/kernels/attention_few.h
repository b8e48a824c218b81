// Attention of a few queries, limited by how fast keys and values are read.
//
// Unlike in a tile of many queries, a vector holds neighboring numbers of a key, and the scores of
// `lanes` pairs of key and query are summed up together.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "softmax.h"
#include "stored_rows.h"
#include "transpose.h"

namespace g4::G4_SET {

/// Keys whose scores are computed before their values are added.
inline constexpr int64_t few_block = 64;
static_assert(few_block * lanes + 2 * lanes <= attention_scores);

/// Keys whose numbers are asked for ahead of their products, and so the values: the processor's own
/// prefetching starts anew with each.
inline constexpr int64_t keys_ahead = 4, values_ahead = 8;

/// Scores of `lanes / Rows` keys from `first` on; lane i is that of key i / Rows and query i % Rows.
template <int Rows, class Source>
inline Vec score_few(
    const Source& keys, int64_t first, int64_t count, const float* queries, int64_t width) {
  constexpr int together = lanes / Rows, parts = Source::step / lanes;
  int64_t key[together];
  // After the last key it is read again; the caller drops those scores.
  for (int n = 0; n < together; n++) key[n] = first + smaller(n, count - 1);
  Vec sums[lanes] = {};
  int64_t d = 0;
  while (d + Source::step <= width) {
    const int64_t end = smaller(d + keys.run(width), width / Source::step * Source::step);
    typename Source::Run run[together];
    for (int n = 0; n < together; n++) run[n] = keys.run_of(key[n], d);
    for (; d < end; d += Source::step) {
      for (int n = 0; n < together; n++) keys.prefetch(key[n] + keys_ahead, d);
      Vec numbers[together][parts];
#pragma GCC unroll 16
      for (int n = 0; n < together; n++) run[n].read(d, numbers[n]);
#pragma GCC unroll 2
      for (int i = 0; i < parts; i++) {
#pragma GCC unroll 16
        for (int r = 0; r < Rows; r++) {
          const Vec query = load(queries + r * width + d + i * lanes);
#pragma GCC unroll 16
          for (int n = 0; n < together; n++) sums[n * Rows + r] += numbers[n][i] * query;
        }
      }
    }
  }
  Vec scores = sums_of(sums);
  if constexpr (!Source::packed) {
    for (; d < width; d++) {
      for (int i = 0; i < lanes; i++) {
        scores[i] += keys.number(key[i / Rows], d) * queries[i % Rows * width + d];
      }
    }
  }
  return scores;
}

/// results[r][d] += sum of weights[n][r] * value n's number d, for `Columns` vectors of numbers from
/// `d` on.
template <int Rows, int Columns, class Source>
inline void add_few_columns(
    const Source& values, int64_t first, int64_t count, int64_t d, const float* weights,
    float* results, int64_t width) {
  constexpr int parts = Source::step / lanes;
  Vec sums[Rows][Columns];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 4
    for (int c = 0; c < Columns; c++) sums[r][c] = load(results + r * width + d + c * lanes);
  }
  for (int64_t n = 0; n < count; n++) {
    const typename Source::Run run = values.run_of(first + n, d);
    Vec value[Columns / parts][parts];
#pragma GCC unroll 4
    for (int c = 0; c < Columns / parts; c++) {
      values.prefetch(first + n + values_ahead, d + c * Source::step);
      run.read(d + c * Source::step, value[c]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; r++) {
      const Vec weight = fill(weights[n * Rows + r]);
#pragma GCC unroll 4
      for (int c = 0; c < Columns; c++) sums[r][c] += value[c / parts][c % parts] * weight;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; r++) {
#pragma GCC unroll 4
    for (int c = 0; c < Columns; c++) store(results + r * width + d + c * lanes, sums[r][c]);
  }
}

template <int Rows, class Source>
inline void add_few_values(
    const Source& values, int64_t first, int64_t block, int64_t width, const float* weights,
    float* results) {
  constexpr int columns = Rows * 2 > lanes ? Source::step / lanes : 2;
  // A few keys at a time, so that values are read in long stretches.
  constexpr int64_t keys = values_ahead;
  for (int64_t n = 0; n < block; n += keys) {
    const float* by = weights + n * Rows;
    const int64_t from = first + n, count = smaller(keys, block - n);
    int64_t d = 0;
    for (; d + columns * lanes <= width; d += columns * lanes) {
      add_few_columns<Rows, columns>(values, from, count, d, by, results, width);
    }
    if constexpr (!Source::packed) {
      for (; d + lanes <= width; d += lanes) {
        add_few_columns<Rows, 1>(values, from, count, d, by, results, width);
      }
      for (; d < width; d++) {
        for (int64_t i = 0; i < count * Rows; i++) {
          results[i % Rows * width + d] += values.number(from + i / Rows, d) * by[i];
        }
      }
    }
  }
}

/// One number per query, each in all lanes of its query.
template <int Rows>
inline Vec over_rows(const float* numbers) {
  Vec result = {};
  for (int i = 0; i < lanes; i++) result[i] = numbers[i % Rows];
  return result;
}

/// The queries of a tile, and what was summed up for them.
template <int Rows>
struct FewQueries {
  float *numbers, *results;  // [Rows][width]
  float top[Rows], total[Rows];
  IVec low, high;  // the keys that a lane's query sees
  int64_t from, to;            // the keys that some query sees
  int64_t all_from, all_to;    // the keys that all see
};

template <int Rows>
inline void begin_few(const AttentionTile& tile, FewQueries<Rows>& queries) {
  const int64_t width = tile.width;
  std::memset(queries.numbers, 0, Rows * width * sizeof(float));
  std::memset(queries.results, 0, Rows * width * sizeof(float));
  queries.low = queries.high = IVec{};
  queries.from = queries.all_to = tile.last_key;
  queries.to = queries.all_from = tile.first_key;
  for (int r = 0; r < Rows; r++) {
    queries.top[r] = no_score;
    queries.total[r] = 0;
    if (r >= tile.rows) continue;
    const int64_t token = (tile.row + r) / tile.group, head = (tile.row + r) % tile.group;
    const float* query = tile.q + token * tile.q_token + head * tile.q_head;
    for (int64_t d = 0; d < width; d++) queries.numbers[r * width + d] = query[d] * tile.scale;
    const int64_t low = tile.low ? tile.low[token] : 0;
    const int64_t high = tile.high ? tile.high[token] : tile.last_key;
    for (int i = r; i < lanes; i += Rows) {
      queries.low[i] = int32_t(low);
      queries.high[i] = int32_t(high);
    }
    queries.from = smaller(queries.from, larger(low, tile.first_key));
    queries.to = larger(queries.to, smaller(high, tile.last_key));
    queries.all_from = larger(queries.all_from, low);
    queries.all_to = smaller(queries.all_to, high);
  }
}

/// Scores [block][Rows] of a block of keys; those that a query does not see are -infinity.
template <int Rows, class Source>
inline void score_few_block(
    const AttentionTile& tile, const FewQueries<Rows>& queries, const Source& keys, int64_t first,
    int64_t block, float* scores) {
  constexpr int together = lanes / Rows;
  const int32_t end = int32_t(first + block);
  IVec ahead = {};
  for (int i = 0; i < lanes; i++) ahead[i] = i / Rows;
  for (int64_t n = 0; n < block; n += together) {
    const int64_t key = first + n;
    Vec score = score_few<Rows>(keys, key, block - n, queries.numbers, tile.width);
    if (key < queries.all_from || key + together > smaller(queries.all_to, end)) {
      const IVec at = ahead + int32_t(key);
      const IVec seen = (at >= queries.low) & (at < queries.high) & (at < end);
      score = choose(seen, score, fill(-__builtin_inff()));
    }
    for (int i = 0; tile.mask && i < lanes && key + i / Rows < end; i++) {
      const int64_t token = (tile.row + smaller(i % Rows, tile.rows - 1)) / tile.group;
      const int64_t at = token * tile.mask_token + (key + i / Rows) * tile.mask_key;
      if (!tile.mask[at]) score[i] = -__builtin_inff();
    }
    store(scores + n * Rows, score);
  }
}

/// Scores to weights; what was summed up before follows the new maximum.
template <int Rows>
inline void weigh_few(FewQueries<Rows>& queries, int64_t block, int64_t width, float* scores) {
  const Vec before = over_rows<Rows>(queries.top);
  Vec tops = before;
  // The score is the second operand: then NaN is kept.
  for (int64_t i = 0; i < block * Rows; i += lanes) tops = max(tops, load(scores + i));
  for (int i = 0; i < lanes; i++) {
    float& top = queries.top[i % Rows];
    top = top > tops[i] ? top : tops[i];
  }
  const Vec top = over_rows<Rows>(queries.top), shrink = weight_of(before - top);
  Vec totals = {};
  for (int64_t i = 0; i < block * Rows; i += lanes) {
    const Vec weight = weight_of(load(scores + i) - top);
    totals += weight;
    store(scores + i, weight);
  }
  for (int r = 0; r < Rows; r++) queries.total[r] *= shrink[r];
  for (int i = 0; i < lanes; i++) queries.total[i % Rows] += totals[i];
  for (int r = 0; r < Rows; r++) {
    float* results = queries.results + r * width;
    if (shrink[r] == 1) continue;
    for (int64_t d = 0; d < width; d++) results[d] *= shrink[r];
  }
}

template <int Rows>
inline void end_few(const AttentionTile& tile, const FewQueries<Rows>& queries) {
  for (int64_t r = 0; r < tile.rows; r++) {
    const int64_t token = (tile.row + r) / tile.group, head = (tile.row + r) % tile.group;
    float* out = tile.out + token * tile.out_token + head * tile.width;
    if (tile.tops) {
      tile.tops[tile.row + r] = queries.top[r];
      tile.totals[tile.row + r] = queries.total[r];
    }
    const float factor = tile.tops ? 1 : 1 / queries.total[r];
    for (int64_t d = 0; d < tile.width; d++) out[d] = queries.results[r * tile.width + d] * factor;
  }
}

template <int Rows>
inline void attend_few(const AttentionTile& tile, float* scratch) {
  FewQueries<Rows> queries;
  queries.numbers = scratch;
  queries.results = queries.numbers + Rows * tile.width;
  float* scores = aligned(queries.results + Rows * tile.width);
  begin_few(tile, queries);
  for (int64_t first = queries.from; first < queries.to; first += few_block) {
    const int64_t block = smaller(few_block, queries.to - first);
    with_rows(tile.k, tile.k_key, tile.packed_k, [&](const auto& keys) {
      score_few_block<Rows>(tile, queries, keys, first, block, scores);
    });
    weigh_few<Rows>(queries, block, tile.width, scores);
    with_rows(tile.v, tile.v_key, tile.packed_v, [&](const auto& values) {
      add_few_values<Rows>(values, first, block, tile.width, scores, queries.results);
    });
  }
  end_few<Rows>(tile, queries);
}

/// Computes a tile whose queries would leave half of a vector empty or more, of packed keys also one
/// whose queries fill it; false for others.
inline bool attend_to_few(const AttentionTile& tile, float* scratch) {
  if (tile.rows == 1) {
    attend_few<1>(tile, scratch);
  } else if (tile.rows == 2 && lanes >= 4) {
    attend_few<2>(tile, scratch);
  } else if (tile.rows <= 4 && lanes >= 8) {
    attend_few<lanes >= 8 ? 4 : 1>(tile, scratch);
  } else if (tile.rows <= 8 && lanes >= 16) {
    attend_few<lanes >= 16 ? 8 : 1>(tile, scratch);
  } else if (tile.rows <= lanes && tile.packed_k.data && tile.packed_v.data) {
    attend_few<lanes>(tile, scratch);
  } else {
    return false;
  }
  return true;
}

}  // namespace g4::G4_SET
