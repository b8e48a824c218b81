#include "product.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu_features.h"
#include "scratch.h"
#include "thread_pool.h"

namespace g4 {
namespace {

/// Rows of x that are packed at a time: few enough to stay in the caches, and enough that unpacking
/// the weights again for the next ones costs little.
constexpr int64_t most_rows = 528;

/// Columns that are packed by a thread at a time.
constexpr int64_t pack_step = 1024;

std::atomic<bool> amx_wanted = true, rounding_wanted = false;

const ManyRows& kernel_in_use() {
#if defined(G4_HAS_AMX)
  if (amx_in_use()) return rounding_wanted ? amx_rounded_many_rows : amx_many_rows;
#endif
  return kernels().many_rows;
}

/// `use(memory)` with memory that all threads share while it runs.
template <class Use>
void with_shared_memory(int64_t bytes, const Use& use) {
  static std::mutex* kept_in_use = new std::mutex;
  static Buffer* kept = new Buffer;
  std::unique_lock lock(*kept_in_use, std::try_to_lock);
  if (lock.owns_lock()) {
    use(kept->at_least(bytes));
  } else {
    Buffer own;
    use(own.at_least(bytes));
  }
}

void pack(
    const ManyRows& kernel, const float* x, int64_t rows, int64_t columns, Limits limits,
    uint8_t* packed) {
  const int64_t panels = ceil_div(rows, kernel.panel_rows), steps = ceil_div(columns, pack_step);
  parallel(panels * steps, [&](int64_t part) {
    const int64_t first = part % steps * pack_step;
    kernel.pack(
        x, rows, columns, limits, part / steps, first, std::min(first + pack_step, columns),
        packed);
  });
}

/// Outputs and rows of a part of a product.
struct Part {
  int64_t outputs;
  int64_t rows;
};

/// Parts that keep all threads busy to the end. Rows are divided only where outputs do not suffice,
/// since the weights are unpacked for each part.
Part part_of(const ManyRows& kernel, int64_t rows, int64_t outputs) {
  const int64_t threads = ThreadPool::shared().size();
  const int64_t even = round_up(ceil_div(outputs, 4 * threads), kernel.output_step);
  const int64_t step = std::min(even, kernel.most_outputs);
  const int64_t row_parts = ceil_div(2 * threads, ceil_div(outputs, step));
  return {step, round_up(ceil_div(rows, row_parts), kernel.panel_rows)};
}

/// An adapter and the numbers of the rows that it changes; h has a row for each that is packed.
struct Change {
  const LowRank& adapter;
  std::vector<int64_t> rows;
  std::unique_ptr<float[]> h;

  /// The place in `rows` of the first one that is not before `row`.
  int64_t place(int64_t row) const {
    return std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
  }

  /// Add to outputs [first, last) of those rows in [from, to) that it changes; h and y begin with the
  /// row `start`.
  void add(
      int64_t start, int64_t from, int64_t to, float* y, int64_t stride, int64_t first,
      int64_t last) const {
    const int64_t rank = adapter.addition.b.columns;
    std::vector<float*> some;
    for (int64_t i = place(from), end = place(to); i < end; i += int64_t(some.size())) {
      // As many as have their rows of h one after the other.
      some.clear();
      const int64_t row = rows[size_t(i)];
      for (int64_t j = i; j < end && rows[size_t(j)] == row + j - i; j++) {
        some.push_back(y + (rows[size_t(j)] - start) * stride);
      }
      kernels().add_low_rank(
          adapter.addition, h.get() + (row - start) * rank, int64_t(some.size()), some.data(), first,
          last);
    }
  }
};

/// What adapters do to `count` rows, of which at most `most` are packed at a time.
std::vector<Change> changes_of(const Adapted& matrix, int64_t count, int64_t most) {
  std::vector<Change> result;
  auto changed = matrix.changed(count);
  for (size_t i = 0; i < changed.size(); i++) {
    if (changed[i].empty()) continue;
    const LowRank& adapter = matrix.adapters[i];
    std::unique_ptr<float[]> h(new float[size_t(most * adapter.a.rows)]);
    result.push_back({adapter, std::move(changed[i]), std::move(h)});
  }
  return result;
}

/// A matrix, and which way it is multiplied.
struct Operand {
  const ManyRows& kernel;
  const Weight& weight;
  int64_t outputs, depth;  // as many numbers in a row of y, and of x
};

/// y of the `rows` rows that are `packed`, the first of which is row `start` for `changes`.
void multiply(
    const Operand& operand, const uint8_t* packed, int64_t start, int64_t rows, float* y,
    int64_t stride, const Finish& finish, const std::vector<Change>& changes) {
  const ManyRows& kernel = operand.kernel;
  const Part part = part_of(kernel, rows, operand.outputs);
  const int64_t across = ceil_div(operand.outputs, part.outputs), down = ceil_div(rows, part.rows);
  parallel(across * down, [&](int64_t number) {
    const int64_t first = number % across * part.outputs, row = number / across * part.rows;
    const int64_t last = std::min(first + part.outputs, operand.outputs);
    const int64_t count = std::min(part.rows, rows - row);
    Finish own = finish;
    if (own.bias) own.bias += first;
    uint8_t* scratch = thread_scratch(kernel.scratch_bytes(count, last - first));
    kernel.multiply(
        operand.weight, packed + kernel.packed_bytes(row, operand.depth), count, first, last, scratch,
        own, y + row * stride + first, stride);
    for (const auto& each : changes) {
      each.add(start, start + row, start + row + count, y, stride, first, last);
    }
  });
}

void many_rows(
    const Operand& operand, const float* x, int64_t rows, float* y, int64_t stride,
    const ProductOptions& options) {
  const ManyRows& kernel = operand.kernel;
  const int64_t blocks = ceil_div(rows, most_rows);
  const int64_t step = round_up(ceil_div(rows, blocks), kernel.panel_rows);
  Finish finish{options.output, nullptr};
  std::vector<Change> changes;
  if (const Adapted* adapted = options.adapted) {
    if (!adapted->chosen && adapted->adapters[0].is_bias()) {
      finish.bias = adapted->adapters[0].addition.bias;
    } else {
      changes = changes_of(*adapted, rows, step);
    }
  }
  with_shared_memory(kernel.packed_bytes(std::min(step, rows), operand.depth), [&](auto* packed) {
    for (int64_t i = 0; i < rows; i += step) {
      const int64_t count = std::min(step, rows - i);
      pack(kernel, x + i * operand.depth, count, operand.depth, options.input, packed);
      for (const auto& each : changes) {
        const LowRank& adapter = each.adapter;
        const int64_t rank = adapter.a.rows;
        if (rank == 0 || each.place(i) == each.place(i + count)) continue;
        float* h = each.h.get();
        multiply({kernel, adapter.a, rank, operand.depth}, packed, i, count, h, rank, {}, {});
        for (int64_t j = 0; j < count * rank; j++) h[j] *= adapter.scale;
      }
      multiply(operand, packed, i, count, y + i * stride, stride, finish, changes);
    }
  });
}

}  // namespace

int64_t many_rows_from() { return kernel_in_use().fewest; }

int64_t many_rows_from(const Weight& weight) {
#if defined(G4_HAS_AMX)
  if (amx_in_use() && !rounding_wanted && amx_few_rows.takes(weight)) return amx_few_rows.most + 1;
#endif
  return many_rows_from();
}

void product(
    const Weight& weight, const float* x, int64_t rows, float* y, int64_t stride,
    const ProductOptions& options) {
  if (rows == 0 || weight.rows == 0) return;
  const Operand operand{kernel_in_use(), weight, weight.rows, weight.columns};
  many_rows(operand, x, rows, y, stride, options);
}

void product_by_columns(const Weight& weight, const float* x, int64_t rows, float* y) {
  if (rows == 0 || weight.columns == 0) return;
  const Operand operand{
      kernels().many_rows_by_columns, weight, weight.columns, weight.rows};
  many_rows(operand, x, rows, y, weight.columns, {});
}

Weight as_weight(const float* numbers, int64_t rows, int64_t columns) {
  Weight weight{};
  weight.kind = Kind::f32;
  weight.bits = 32;
  weight.group = 1;
  weight.rows = rows;
  weight.columns = columns;
  weight.data = reinterpret_cast<const uint8_t*>(numbers);
  return weight;
}

void transpose(const float* x, int64_t rows, int64_t columns, float* y) {
  constexpr int64_t side = 32;  // of a square that fits the first cache with its lines
  const int64_t across = ceil_div(columns, side);
  parallel_ranges(across, std::max<int64_t>(1, 1024 / rows), [&](int64_t first, int64_t last) {
    for (int64_t i = 0; i < rows; i += side) {
      for (int64_t k = first * side; k < std::min(last * side, columns); k++) {
        for (int64_t j = i; j < std::min(i + side, rows); j++) y[k * rows + j] = x[j * columns + k];
      }
    }
  });
}

void use_amx(bool use) { amx_wanted = use; }

bool amx_in_use() { return amx_wanted && has_amx(); }

void set_bf16_products(bool rounded) { rounding_wanted = rounded; }

}  // namespace g4
