#include "product.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

#include "cpu_features.h"
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
  if (amx_wanted && has_amx()) return rounding_wanted ? amx_rounded_many_rows : amx_many_rows;
#endif
  return kernels().many_rows;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t value, int64_t step) { return ceil_div(value, step) * step; }

/// Memory that is kept from one product to the next, so that its pages need not be mapped anew.
class Buffer {
 public:
  uint8_t* at_least(int64_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(64, round_up(bytes, 64))));
      if (!memory_) throw std::bad_alloc();
      size_ = bytes;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  int64_t size_ = 0;
};

/// The calling thread's own memory.
uint8_t* thread_scratch(int64_t bytes) {
  static thread_local Buffer buffer;
  return buffer.at_least(bytes);
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

int64_t outputs_of_part(const ManyRows& kernel, int64_t outputs) {
  const int64_t even = ceil_div(outputs, 4 * ThreadPool::shared().size());
  return std::min(round_up(even, kernel.output_step), kernel.most_outputs);
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

void multiply(
    const ManyRows& kernel, const Weight& weight, const uint8_t* packed, int64_t rows, float* y,
    int64_t stride, const Finish& finish) {
  const int64_t step = outputs_of_part(kernel, weight.rows);
  parallel(ceil_div(weight.rows, step), [&](int64_t part) {
    const int64_t first = part * step, last = std::min(first + step, weight.rows);
    Finish own = finish;
    if (own.bias) own.bias += first;
    uint8_t* scratch = thread_scratch(kernel.scratch_bytes(rows, last - first));
    kernel.multiply(weight, packed, rows, first, last, scratch, own, y + first, stride);
  });
}

void many_rows(
    const ManyRows& kernel, const Weight& weight, const float* x, int64_t rows, float* y,
    int64_t stride, const ProductOptions& options) {
  const int64_t blocks = ceil_div(rows, most_rows);
  const int64_t step = round_up(ceil_div(rows, blocks), kernel.panel_rows);
  with_shared_memory(kernel.packed_bytes(std::min(step, rows), weight.columns), [&](auto* packed) {
    for (int64_t i = 0; i < rows; i += step) {
      const int64_t count = std::min(step, rows - i);
      pack(kernel, x + i * weight.columns, count, weight.columns, options.input, packed);
      multiply(kernel, weight, packed, count, y + i * stride, stride, options.output);
    }
  });
}

}  // namespace

void product(
    const Weight& weight, const float* x, int64_t rows, float* y, int64_t stride,
    const ProductOptions& options) {
  if (rows == 0 || weight.rows == 0) return;
  many_rows(kernel_in_use(), weight, x, rows, y, stride, options);
}

void use_amx(bool use) { amx_wanted = use; }

void set_bf16_products(bool rounded) { rounding_wanted = rounded; }

}  // namespace g4
