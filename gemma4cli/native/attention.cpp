#include "attention.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "kernels/kernels.h"
#include "operands.h"
#include "scratch.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Products that one thread computes at least, and keys that it reads.
constexpr int64_t least_products = 1 << 21, least_keys = 256;

/// The keys [low, high) that each query sees.
struct Ranges {
  std::vector<int32_t> low, high;  // [B * L]

  const int32_t* low_of(int64_t row) const { return low.empty() ? nullptr : low.data() + row; }
  const int32_t* high_of(int64_t row) const { return high.empty() ? nullptr : high.data() + row; }
};

/// What `ranges_of` reads; null for what there is not.
struct Rule {
  bool causal;
  int64_t window;
  bool blocks_beyond_window;
  const int32_t *blocks, *padding;
};

Ranges ranges_of(const Rule& rule, int64_t batch, int64_t length, int64_t keys) {
  Ranges ranges;
  if (!rule.causal && rule.window == 0 && !rule.padding) return ranges;
  const int64_t before = keys - length;
  std::vector<int32_t> low(length), high(length);
  for (int64_t first = 0, end = 0; first < length; first = end) {
    const bool block = rule.blocks && rule.blocks[first] >= 0;
    for (end = first + 1; block && end < length && rule.blocks[end] == rule.blocks[first];) end++;
    for (int64_t i = first; i < end; i++) {
      const int64_t position = before + i;
      int64_t from = rule.window ? std::max<int64_t>(0, position - rule.window + 1) : 0;
      if (block && rule.blocks_beyond_window) from = std::min(from, before + first);
      low[i] = int32_t(from);
      high[i] = int32_t(!rule.causal ? keys : block ? before + end : position + 1);
    }
  }
  for (int64_t b = 0; b < batch; b++) {
    ranges.low.insert(ranges.low.end(), low.begin(), low.end());
    ranges.high.insert(ranges.high.end(), high.begin(), high.end());
    if (!rule.padding) continue;
    for (int64_t i = 0; i < length; i++) {
      const int64_t position = before + i, at = b * length + i;
      const bool empty = position < rule.padding[b];
      ranges.low[at] = empty ? int32_t(position) : std::max(ranges.low[at], rule.padding[b]);
      if (empty) ranges.high[at] = int32_t(position + 1);
    }
  }
  return ranges;
}

/// Everything about one call but the memory's contents.
struct Shapes {
  int64_t batch, heads, length, shared, keys, width;  // `shared`: heads of keys and values
  mx::Strides q, k, v, mask;

  int64_t group() const { return heads / shared; }
  int64_t rows() const { return length * group(); }
  int64_t tiles() const { return ceil_div(rows(), attention_rows); }
  /// Tiles of all heads of all rows.
  int64_t all_tiles() const { return batch * shared * tiles(); }
};

/// Parts of the keys that are attended to separately, so that all threads have work.
int64_t splits_of(const Shapes& shapes) {
  const int64_t wanted = 2 * ThreadPool::shared().size();
  if (ThreadPool::shared().size() == 1 || shapes.all_tiles() >= wanted) return 1;
  const int64_t splits = ceil_div(wanted, shapes.all_tiles());
  return std::max<int64_t>(1, std::min(splits, shapes.keys / least_keys));
}

class Attention : public RowPrimitive {
 public:
  Attention(mx::Stream stream, float scale, const Visibility& rule)
      : RowPrimitive(stream), scale_(scale), causal_(rule.causal), window_(rule.window),
        blocks_beyond_window_(rule.blocks_beyond_window), has_blocks_(rule.blocks.has_value()),
        has_padding_(rule.padding.has_value()), has_mask_(rule.mask.has_value()) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return [] {};
    const mx::array q = with_dense_last_axis(inputs[0], stream());
    const mx::array k = with_dense_last_axis(inputs[1], stream());
    const mx::array v = with_dense_last_axis(inputs[2], stream());
    size_t next = 3;
    const auto* blocks = has_blocks_ ? inputs[next++].data<int32_t>() : nullptr;
    const auto* padding = has_padding_ ? inputs[next++].data<int32_t>() : nullptr;
    const auto* mask = has_mask_ ? inputs[next].data<bool>() : nullptr;
    const Rule rule{causal_, window_, blocks_beyond_window_, blocks, padding};
    const Shapes shapes{
        q.shape(0), q.shape(1), q.shape(2), k.shape(1), k.shape(2), q.shape(3),
        q.strides(), k.strides(), v.strides(), has_mask_ ? inputs[next].strides() : mx::Strides{}};
    AttentionTile tile{};
    tile.q = q.data<float>();
    tile.k = k.data<float>();
    tile.v = v.data<float>();
    tile.q_token = shapes.q[2];
    tile.q_head = shapes.q[1];
    tile.k_key = shapes.k[2];
    tile.v_key = shapes.v[2];
    tile.width = shapes.width;
    tile.scale = scale_;
    tile.group = shapes.group();
    tile.mask = mask;
    tile.mask_token = has_mask_ ? shapes.mask[2] : 0;
    tile.mask_key = has_mask_ ? shapes.mask[3] : 0;
    tile.out = out.data<float>();
    tile.out_token = shapes.heads * shapes.width;
    return [=] {
      const Ranges ranges = ranges_of(rule, shapes.batch, shapes.length, shapes.keys);
      const int64_t splits = splits_of(shapes);
      if (splits == 1) {
        attend(shapes, tile, ranges);
      } else {
        attend_in_splits(shapes, tile, ranges, splits);
      }
    };
  }
  const char* name() const override { return "G4Attention"; }

 private:
  /// The tile with this number, of all heads and rows.
  static AttentionTile tile_at(
      const Shapes& shapes, AttentionTile tile, const Ranges& ranges, int64_t index) {
    const int64_t head = index / shapes.tiles() % shapes.shared;
    const int64_t b = index / shapes.tiles() / shapes.shared;
    // Late queries see the most keys: they come first, so that all threads end at the same time.
    tile.row = (shapes.tiles() - 1 - index % shapes.tiles()) * attention_rows;
    tile.rows = std::min<int64_t>(attention_rows, shapes.rows() - tile.row);
    tile.q += b * shapes.q[0] + head * tile.group * shapes.q[1];
    tile.k += b * shapes.k[0] + head * shapes.k[1];
    tile.v += b * shapes.v[0] + head * shapes.v[1];
    tile.first_key = 0;
    tile.last_key = shapes.keys;
    tile.low = ranges.low_of(b * shapes.length);
    tile.high = ranges.high_of(b * shapes.length);
    if (tile.mask) tile.mask += b * shapes.mask[0];
    tile.out += b * shapes.length * tile.out_token + head * tile.group * tile.width;
    return tile;
  }

  static void attend(const Shapes& shapes, const AttentionTile& base, const Ranges& ranges) {
    const int64_t products = 2 * std::min<int64_t>(attention_rows, shapes.rows()) * shapes.keys *
        shapes.width;
    const int64_t step = std::max<int64_t>(1, least_products / std::max<int64_t>(1, products));
    parallel_ranges(shapes.all_tiles(), step, [&](int64_t first, int64_t last) {
      float* scratch = thread_numbers(attention_scratch(shapes.width));
      for (int64_t i = first; i < last; i++) {
        kernels().attention(tile_at(shapes, base, ranges, i), scratch);
      }
    });
  }

  static void attend_in_splits(
      const Shapes& shapes, const AttentionTile& base, const Ranges& ranges, int64_t splits) {
    const int64_t heads = shapes.batch * shapes.shared, rows = shapes.rows();
    const int64_t step = ceil_div(shapes.keys, splits), count = shapes.all_tiles();
    const int64_t size = heads * rows;  // rows of one split
    std::unique_ptr<float[]> tops(new float[splits * size]), totals(new float[splits * size]);
    std::unique_ptr<float[]> results(new float[splits * size * shapes.width]);
    parallel(count * splits, [&](int64_t part) {
      const int64_t index = part / splits, split = part % splits;
      AttentionTile tile = tile_at(shapes, base, ranges, index);
      const int64_t at = split * size + index / shapes.tiles() * rows;
      tile.first_key = split * step;
      tile.last_key = std::min(shapes.keys, (split + 1) * step);
      tile.tops = tops.get() + at;
      tile.totals = totals.get() + at;
      tile.out = results.get() + at * shapes.width;
      tile.out_token = tile.group * tile.width;
      kernels().attention(tile, thread_numbers(attention_scratch(shapes.width)));
    });
    for (int64_t i = 0; i < size; i++) {
      const int64_t head = i / rows, row = i % rows, b = head / shapes.shared;
      float* out = base.out + (b * shapes.length + row / base.group) * base.out_token +
          (head % shapes.shared * base.group + row % base.group) * shapes.width;
      kernels().merge(
          tops.get() + i, totals.get() + i, results.get() + i * shapes.width, splits, size,
          shapes.width, out);
    }
  }

  float scale_;
  bool causal_;
  int64_t window_;
  bool blocks_beyond_window_, has_blocks_, has_padding_, has_mask_;
};

/// A mask as [B, 1, L, S].
mx::array mask_of_rows(const mx::array& mask, const mx::Shape& shape, mx::Stream stream) {
  if (mask.dtype() != mx::bool_ || (mask.ndim() == 4 && mask.shape(1) != 1)) {
    throw std::invalid_argument("attention: the mask must be booleans [L, S] or [B, 1, L, S]");
  }
  return mx::broadcast_to(mask, shape, stream);
}

}  // namespace

mx::array attention(
    const mx::array& q, const mx::array& k, const mx::array& v, float scale,
    const Visibility& visibility, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  for (const auto* each : {&q, &k, &v}) {
    require_float32(*each, "attention");
    if (each->ndim() != 4 || each->shape(0) != q.shape(0) || each->shape(3) != q.shape(3)) {
      throw std::invalid_argument("attention: q must be [B, H, L, D], k and v [B, KV, S, D]");
    }
  }
  if (k.shape() != v.shape() || k.shape(1) == 0 || q.shape(1) % k.shape(1) != 0 ||
      (visibility.causal && k.shape(2) < q.shape(2))) {
    throw std::invalid_argument("attention: the shapes of queries, keys and values do not fit");
  }
  if (visibility.window < 0) {
    throw std::invalid_argument("attention: the window must not be negative");
  }
  std::vector<mx::array> inputs{q, k, v};
  for (const auto* each : {&visibility.blocks, &visibility.padding}) {
    if (!*each) continue;
    const int count = each == &visibility.blocks ? q.shape(2) : q.shape(0);
    if ((*each)->dtype() != mx::int32 || (*each)->ndim() != 1 || (*each)->shape(0) != count) {
      throw std::invalid_argument("attention: blocks must be [L] and padding [B] of int32");
    }
    inputs.push_back(in_rows(**each, stream));
  }
  if (visibility.mask) {
    inputs.push_back(
        mask_of_rows(*visibility.mask, {q.shape(0), 1, q.shape(2), k.shape(2)}, stream));
  }
  return mx::array(
      {q.shape(0), q.shape(2), q.shape(1) * q.shape(3)}, mx::float32,
      std::make_shared<Attention>(stream, scale, visibility), std::move(inputs));
}

}  // namespace g4
