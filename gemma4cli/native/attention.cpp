#include "attention.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "attention_back.h"
#include "kernels/kernels.h"
#include "key_ranges.h"
#include "operands.h"
#include "scratch.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Products that one thread computes at least, and keys that it reads.
constexpr int64_t least_products = 1 << 21, least_keys = 256;

/// Keys or values in memory.
struct Stored {
  const float* numbers = nullptr;  // or `packed`
  PackedRows packed{};
  int64_t heads, count;
  // From one key, head or row of the batch to the next, in numbers; of packed ones in bytes, and
  // those of scales and biases.
  mx::Strides strides, scale_strides, bias_strides;

  /// The part of one head.
  PackedRows packed_of(int64_t b, int64_t head) const {
    PackedRows part = packed;
    if (!part.data) return part;
    part.data += b * strides[0] + head * strides[1];
    part.scales += b * scale_strides[0] + head * scale_strides[1];
    part.biases += b * bias_strides[0] + head * bias_strides[1];
    return part;
  }
  const float* numbers_of(int64_t b, int64_t head) const {
    return numbers ? numbers + b * strides[0] + head * strides[1] : nullptr;
  }
};

/// Strides of 4-byte numbers in bytes.
mx::Strides in_bytes(mx::Strides strides) {
  for (auto& each : strides) each *= 4;
  return strides;
}

/// The keys or values that begin at inputs[next], which moves past them.
Stored take_stored(
    const std::vector<mx::array>& inputs, size_t& next, bool packed, int64_t width, mx::Stream stream) {
  Stored stored;
  const mx::array data = with_dense_last_axis(inputs[next++], stream);
  stored.heads = data.shape(1);
  stored.count = data.shape(2);
  stored.strides = data.strides();
  if (!packed) {
    stored.numbers = data.data<float>();
    return stored;
  }
  const mx::array scales = with_dense_last_axis(inputs[next++], stream);
  const mx::array biases = with_dense_last_axis(inputs[next++], stream);
  stored.strides = in_bytes(data.strides());
  stored.scale_strides = in_bytes(scales.strides());
  stored.bias_strides = in_bytes(biases.strides());
  stored.packed = {
      data.data<uint8_t>(), scales.data<uint8_t>(), biases.data<uint8_t>(), stored.strides[2],
      stored.scale_strides[2], stored.bias_strides[2], int(32 * data.shape(3) / width),
      int(width / scales.shape(3))};
  return stored;
}

/// Everything about one call but the memory's contents.
struct Shapes {
  int64_t batch, heads, length, shared, keys, width;  // `shared`: heads of keys and values
  mx::Strides q, mask;
  Stored k, v;

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
  Attention(
      mx::Stream stream, float scale, const Visibility& rule, bool packed_keys, bool packed_values)
      : RowPrimitive(stream), scale_(scale), packed_keys_(packed_keys),
        packed_values_(packed_values), causal_(rule.causal), window_(rule.window),
        blocks_beyond_window_(rule.blocks_beyond_window), has_blocks_(rule.blocks.has_value()),
        has_padding_(rule.padding.has_value()), has_mask_(rule.mask.has_value()) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return [] {};
    const mx::array q = with_dense_last_axis(inputs[0], stream());
    size_t next = 1;
    const int64_t width = q.shape(3);
    const Stored k = take_stored(inputs, next, packed_keys_, width, stream());
    const Stored v = take_stored(inputs, next, packed_values_, width, stream());
    const auto* blocks = has_blocks_ ? inputs[next++].data<int32_t>() : nullptr;
    const auto* padding = has_padding_ ? inputs[next++].data<int32_t>() : nullptr;
    const auto* mask = has_mask_ ? inputs[next].data<bool>() : nullptr;
    const Rule rule{causal_, window_, blocks_beyond_window_, blocks, padding};
    const Shapes shapes{
        q.shape(0), q.shape(1), q.shape(2), k.heads, k.count, width,
        q.strides(), has_mask_ ? inputs[next].strides() : mx::Strides{}, k, v};
    AttentionTile tile{};
    tile.q = q.data<float>();
    tile.q_token = shapes.q[2];
    tile.q_head = shapes.q[1];
    tile.k_key = k.strides[2];
    tile.v_key = v.strides[2];
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

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    if (packed_keys_ || packed_values_) no_gradient(name(), argnums[0]);
    const AttentionRule rule{
        scale_, causal_, window_, blocks_beyond_window_, has_blocks_, has_padding_, has_mask_};
    const auto all = attention_back(rule, primals, cotangents[0], stream());
    std::vector<mx::array> gradients;
    for (int number : argnums) {
      if (number > 2) no_gradient(name(), number);
      gradients.push_back(all[size_t(number)]);
    }
    return gradients;
  }

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
    tile.k = shapes.k.numbers_of(b, head);
    tile.v = shapes.v.numbers_of(b, head);
    tile.packed_k = shapes.k.packed_of(b, head);
    tile.packed_v = shapes.v.packed_of(b, head);
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
  bool packed_keys_, packed_values_, causal_;
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

/// Throws unless keys or values fit queries [B, H, L, D]; adds their arrays to `inputs`.
void append(std::vector<mx::array>& inputs, const Rows& rows, const mx::array& q) {
  if (const auto* numbers = std::get_if<mx::array>(&rows)) {
    require_float32(*numbers, "attention");
    if (numbers->ndim() != 4 || numbers->shape(3) != q.shape(3)) {
      throw std::invalid_argument("attention: q must be [B, H, L, D], k and v [B, KV, S, D]");
    }
    inputs.push_back(*numbers);
    return;
  }
  const auto& [data, scales, biases] = std::get<Packed>(rows);
  const int64_t width = q.shape(3);
  require_float32(scales, "attention");
  require_float32(biases, "attention");
  const bool fits = data.dtype() == mx::uint32 && data.ndim() == 4 && scales.ndim() == 4 &&
      biases.shape() == scales.shape() && scales.shape(3) > 0 && data.shape(3) > 0 &&
      std::equal(data.shape().begin(), data.shape().end() - 1, scales.shape().begin()) &&
      width % scales.shape(3) == 0 && 32 * int64_t(data.shape(3)) % width == 0;
  const int64_t bits = fits ? 32 * data.shape(3) / width : 0;
  const int64_t group = fits ? width / scales.shape(3) : 0;
  if ((bits != 4 && bits != 8) || (group != 32 && group != 64 && group != 128)) {
    throw std::invalid_argument("attention: the arrays of packed keys or values do not fit");
  }
  inputs.insert(inputs.end(), {data, scales, biases});
}

/// [B, KV, S].
mx::Shape rows_of(const Rows& rows) {
  const auto* numbers = std::get_if<mx::array>(&rows);
  const mx::Shape shape = (numbers ? *numbers : std::get<0>(std::get<Packed>(rows))).shape();
  return mx::Shape(shape.begin(), shape.end() - 1);
}

}  // namespace

mx::array attention(
    const mx::array& q, const Rows& k, const Rows& v, float scale,
    const Visibility& visibility, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(q, "attention");
  if (q.ndim() != 4) {
    throw std::invalid_argument("attention: q must be [B, H, L, D], k and v [B, KV, S, D]");
  }
  std::vector<mx::array> inputs{q};
  append(inputs, k, q);
  append(inputs, v, q);
  const mx::Shape keys = rows_of(k);
  if (keys != rows_of(v) || keys[0] != q.shape(0) || keys[1] == 0 || q.shape(1) % keys[1] != 0 ||
      (visibility.causal && keys[2] < q.shape(2))) {
    throw std::invalid_argument("attention: the shapes of queries, keys and values do not fit");
  }
  if (visibility.window < 0) {
    throw std::invalid_argument("attention: the window must not be negative");
  }
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
        mask_of_rows(*visibility.mask, {q.shape(0), 1, q.shape(2), keys[2]}, stream));
  }
  return mx::array(
      {q.shape(0), q.shape(2), q.shape(1) * q.shape(3)}, mx::float32,
      std::make_shared<Attention>(stream, scale, visibility, k.index() == 1, v.index() == 1),
      std::move(inputs));
}

}  // namespace g4
