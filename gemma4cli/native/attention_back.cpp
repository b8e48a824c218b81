#include "attention_back.h"

#include <algorithm>
#include <memory>

#include "kernels/kernels.h"
#include "key_ranges.h"
#include "operands.h"
#include "product.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Rows of scores that are computed together: enough for products to be fast.
constexpr int64_t rows_at_once = 1024;

struct Shapes {
  int64_t batch, heads, length, shared, keys, width;  // `shared`: heads of keys and values
  mx::Strides q, mask;

  int64_t group() const { return heads / shared; }
  int64_t queries_at_once() const { return std::min(length, std::max<int64_t>(1, rows_at_once / group())); }
};

struct Numbers {
  explicit Numbers(int64_t count) : memory(new float[size_t(count)]) {}
  operator float*() const { return memory.get(); }

  std::unique_ptr<float[]> memory;
};

/// Scratch memory for some queries of heads that share keys and values.
struct Scratch {
  explicit Scratch(const Shapes& shapes)
      : rows(shapes.queries_at_once() * shapes.group()), q(rows * shapes.width),
        gradient(rows * shapes.width), p(rows * shapes.keys), ds(rows * shapes.keys),
        turned(rows * shapes.keys), sums(shapes.keys * shapes.width) {}

  int64_t rows;
  Numbers q, gradient, p, ds, turned, sums;
};

/// Pointers of one head of keys and values, and of its queries.
struct Head {
  const float *q, *k, *v, *gradient;
  float *dq, *dk, *dv;
  const bool* mask;
  const int32_t *low, *high;  // or null
};

void copy_rows(int64_t rows, int64_t width, const auto& from, const auto& to) {
  parallel_rows(rows, width, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; r++) std::copy_n(from(r), width, to(r));
  });
}

/// sums += transposed x [rows, keys] times matrix [rows, width].
void add_product(
    const float* x, int64_t rows, int64_t keys, const float* matrix, int64_t width,
    const Scratch& scratch, float* sums) {
  transpose(x, rows, keys, scratch.turned);
  product_by_columns(as_weight(matrix, rows, width), scratch.turned, keys, scratch.sums);
  parallel_rows(keys * width, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) sums[i] += scratch.sums[i];
  });
}

/// Queries [first, last) of one head.
void go_back(
    const Shapes& shapes, const Head& head, float scale, int64_t first, int64_t last,
    const Scratch& scratch) {
  const int64_t group = shapes.group(), width = shapes.width, rows = (last - first) * group;
  const auto token = [&](int64_t r) { return first + r / group; };
  copy_rows(
      rows, width,
      [&](int64_t r) { return head.q + token(r) * shapes.q[2] + r % group * shapes.q[1]; },
      [&](int64_t r) { return scratch.q + r * width; });
  copy_rows(
      rows, width,
      [&](int64_t r) { return head.gradient + (token(r) * shapes.heads + r % group) * width; },
      [&](int64_t r) { return scratch.gradient + r * width; });
  // The keys that any of these queries sees.
  const int64_t from = head.low ? *std::min_element(head.low + first, head.low + last) : 0;
  const int64_t to = head.high ? *std::max_element(head.high + first, head.high + last) : shapes.keys;
  const int64_t keys = to - from;
  const Weight k = as_weight(head.k + from * width, keys, width);
  const Weight v = as_weight(head.v + from * width, keys, width);
  product(k, scratch.q, rows, scratch.p, keys);
  product(v, scratch.gradient, rows, scratch.ds, keys);
  parallel_rows(rows, keys, [&](int64_t start, int64_t end) {
    for (int64_t r = start; r < end; r++) {
      const int64_t i = token(r);
      kernels().attention_back(
          scratch.p + r * keys, scratch.ds + r * keys, head.low ? head.low[i] - from : 0,
          head.high ? head.high[i] - from : keys, keys,
          head.mask ? head.mask + i * shapes.mask[2] + from * shapes.mask[3] : nullptr,
          head.mask ? shapes.mask[3] : 0, scale);
    }
  });
  add_product(scratch.ds, rows, keys, scratch.q, width, scratch, head.dk + from * width);
  add_product(scratch.p, rows, keys, scratch.gradient, width, scratch, head.dv + from * width);
  product_by_columns(k, scratch.ds, rows, scratch.q);
  copy_rows(
      rows, width, [&](int64_t r) { return scratch.q + r * width; },
      [&](int64_t r) { return head.dq + (r % group * shapes.length + token(r)) * width; });
}

class AttentionBack : public RowPrimitive {
 public:
  AttentionBack(mx::Stream stream, const AttentionRule& rule) : RowPrimitive(stream), rule_(rule) {}

  /// The inputs are those of attention, and the gradient at last.
  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (auto& out : outputs) allocate(out);
    const mx::array q = with_dense_last_axis(inputs[0], stream());
    const mx::array &k = inputs[1], &v = inputs[2];
    size_t next = 3;
    const auto* blocks = rule_.has_blocks ? inputs[next++].data<int32_t>() : nullptr;
    const auto* padding = rule_.has_padding ? inputs[next++].data<int32_t>() : nullptr;
    const auto* mask = rule_.has_mask ? inputs[next].data<bool>() : nullptr;
    const Shapes shapes{
        q.shape(0), q.shape(1), q.shape(2), k.shape(1), k.shape(2), q.shape(3),
        q.strides(), mask ? inputs[next].strides() : mx::Strides{}};
    const Rule rule{rule_.causal, rule_.window, rule_.blocks_beyond_window, blocks, padding};
    const Head all{
        q.data<float>(), k.data<float>(), v.data<float>(), inputs.back().data<float>(),
        outputs[0].data<float>(), outputs[1].data<float>(), outputs[2].data<float>(), mask,
        nullptr, nullptr};
    return [=, scale = rule_.scale, size = k.size()] {
      std::fill_n(all.dk, size, 0.f);
      std::fill_n(all.dv, size, 0.f);
      if (size == 0 || shapes.length == 0) return;
      const Ranges ranges = ranges_of(rule, shapes.batch, shapes.length, shapes.keys);
      const Scratch scratch(shapes);
      const int64_t step = shapes.queries_at_once();
      for (int64_t i = 0; i < shapes.batch * shapes.shared; i++) {
        const Head head = head_at(shapes, all, ranges, i / shapes.shared, i % shapes.shared);
        for (int64_t first = 0; first < shapes.length; first += step) {
          go_back(shapes, head, scale, first, std::min(first + step, shapes.length), scratch);
        }
      }
    };
  }
  const char* name() const override { return "G4AttentionBack"; }

 private:
  static Head head_at(
      const Shapes& shapes, Head head, const Ranges& ranges, int64_t b, int64_t number) {
    const int64_t first = number * shapes.group();
    const int64_t keys = (b * shapes.shared + number) * shapes.keys * shapes.width;
    head.q += b * shapes.q[0] + first * shapes.q[1];
    head.gradient += (b * shapes.length * shapes.heads + first) * shapes.width;
    head.dq += (b * shapes.heads + first) * shapes.length * shapes.width;
    head.k += keys;
    head.v += keys;
    head.dk += keys;
    head.dv += keys;
    head.low = ranges.low_of(b * shapes.length);
    head.high = ranges.high_of(b * shapes.length);
    if (head.mask) head.mask += b * shapes.mask[0];
    return head;
  }

  AttentionRule rule_;
};

}  // namespace

std::vector<mx::array> attention_back(
    const AttentionRule& rule, const std::vector<mx::array>& inputs, const mx::array& gradient,
    mx::Stream stream) {
  std::vector<mx::array> all{inputs[0], in_rows(inputs[1], stream), in_rows(inputs[2], stream)};
  all.insert(all.end(), inputs.begin() + 3, inputs.end());
  all.push_back(in_rows(gradient, stream));
  return mx::array::make_arrays(
      {inputs[0].shape(), inputs[1].shape(), inputs[2].shape()},
      std::vector<mx::Dtype>(3, mx::float32), std::make_shared<AttentionBack>(stream, rule), all);
}

}  // namespace g4
