#include "few_products.h"

#include <algorithm>
#include <new>

#include "product.h"
#include "thin_products.h"
#include "thread_pool.h"

namespace g4 {
namespace {

/// Bytes of weights that are read in about twenty microseconds.
constexpr int64_t least_part = 1 << 16;

/// Bytes below which waking threads up costs more than they save.
constexpr int64_t least_shared = 1 << 18;

/// Rows whose layout takes one thread no longer than waking others up.
constexpr int64_t few_rows = 8;

/// Rows of input from which laying them out together is faster: fewer leave the processor time to
/// unpack the weights for each, and read them from memory in a better order.
constexpr int64_t fewest_together = 3;

constexpr std::align_val_t cache_line{64};

/// Ask for rows of a thin matrix that are needed when those of the large one have been read: too few
/// follow each other for the processor to see it coming.
void ask_for(const Weight& thin, int64_t first, int64_t last) {
  constexpr int64_t line = 64, most = 1 << 15;
  const uint8_t* start = thin.data + first * thin.row_bytes();
  const int64_t bytes = std::min((last - first) * thin.row_bytes(), most);
  for (int64_t at = 0; at < bytes; at += line) __builtin_prefetch(start + at, 0, 2);
}

}  // namespace

void PreparedRows::Free::operator()(float* memory) const { ::operator delete[](memory, cache_line); }

PreparedRows::PreparedRows(const Weight& weight, const std::vector<const float*>& x)
    : rows_(x.size()) {
  const auto& set = kernels();
  const int64_t size = set.few_rows.prepared_size(weight), count = int64_t(x.size());
  memory_.reset(new (cache_line) float[size_t(size * count)]);
  const auto lay_out = [&](int64_t i) {
    float* row = memory_.get() + i * size;
    set.few_rows.prepare(weight, x[size_t(i)], row);
    rows_[size_t(i)] = row;
  };
  if (count > few_rows) {
    parallel(count, lay_out);
  } else {
    for (int64_t i = 0; i < count; i++) lay_out(i);
  }
}

void PreparedInput::Free::operator()(uint8_t* memory) const {
  ::operator delete[](memory, cache_line);
}

PreparedInput::PreparedInput(const Weight& weight, const std::vector<const float*>& x)
    : like_(weight) {
  const int64_t count = int64_t(x.size());
  input_.count = count;
#if defined(G4_HAS_AMX)
  if (count >= fewest_together && amx_in_use() && amx_few_rows.takes(weight)) {
    together_.reset(new (cache_line) uint8_t[size_t(amx_few_rows.packed_bytes(weight, count))]);
    amx_few_rows.pack(weight, x.data(), count, together_.get());
    input_.together = together_.get();
    return;
  }
#endif
  rows_.emplace(weight, x);
  input_.rows = rows_->rows();
}

bool PreparedInput::fit(const Weight& weight) const {
  return like_.kind == weight.kind && like_.bits == weight.bits && like_.group == weight.group &&
      like_.columns == weight.columns;
}

std::vector<float*> rows_of(float* y, int64_t count, int64_t width) {
  std::vector<float*> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; i++) rows[size_t(i)] = y + i * width;
  return rows;
}

int64_t bytes_of(const Weight& weight) {
  const int64_t scale_bytes =
      weight.kind != Kind::affine ? 1 : weight.scale_type == Float::f32 ? 8 : 4;
  const int64_t scales = weight.quantized() ? weight.columns / weight.group * scale_bytes : 0;
  return weight.rows * (weight.row_bytes() + scales);
}

int64_t rows_per_part(const Weight& weight, int64_t bytes) {
  if (bytes < least_shared) return std::max<int64_t>(1, weight.rows);
  const int64_t part = std::max(least_part, bytes / (32 * ThreadPool::shared().size()));
  const int64_t rows = part * weight.rows / std::max<int64_t>(1, bytes_of(weight));
  // Whole cache lines of output.
  return round_up(std::max<int64_t>(1, rows), 16);
}

void multiply_part(
    const Weight& weight, const Input& x, float* const* y, int64_t first, int64_t last) {
#if defined(G4_HAS_AMX)
  if (x.together) return amx_few_rows.multiply(weight, x.together, x.count, y, first, last);
#endif
  kernels().few_rows.multiply(weight, x.rows.data(), int64_t(x.rows.size()), y, first, last);
}

void multiply_part(
    const Product& product, const ThinProducts& thin, int64_t first, int64_t last) {
  for (const auto& each : product.added) ask_for(each.addition->b, first, last);
  multiply_part(product.weight, product.x, product.y.data(), first, last);
  if (product.added.empty()) return;
  thin.wait();
  for (const auto& [addition, h, y] : product.added) {
    kernels().add_low_rank(*addition, h, int64_t(y.size()), y.data(), first, last);
  }
}

void multiply(const std::vector<Product>& products, ThinProducts& thin) {
  struct Part {
    const Product* product;
    int64_t first, last;
  };
  int64_t bytes = thin.bytes();
  for (const auto& product : products) bytes += bytes_of(product.weight);
  std::vector<Part> parts;
  for (const auto& product : products) {
    const int64_t rows = product.weight.rows, step = rows_per_part(product.weight, bytes);
    for (int64_t first = 0; first < rows; first += step) {
      parts.push_back({&product, first, std::min(first + step, rows)});
    }
  }
  const int64_t before = thin.parts(), count = before + int64_t(parts.size());
  const auto compute = [&](int64_t i) {
    if (i < before) return thin.compute(i);
    const auto& [product, first, last] = parts[size_t(i - before)];
    multiply_part(*product, thin, first, last);
  };
  if (bytes >= least_shared) {
    parallel(count, compute);
  } else {
    for (int64_t i = 0; i < count; i++) compute(i);
  }
}

void multiply(const std::vector<Product>& products) {
  ThinProducts none;
  multiply(products, none);
}

}  // namespace g4
