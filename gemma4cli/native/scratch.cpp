#include "scratch.h"

#include <sys/mman.h>

#include <new>

#include "kernels/sizes.h"

namespace g4 {
namespace {

constexpr int64_t large_page = 1 << 21;

/// In large pages where the system has them: blocks of products lie in many small ones.
uint8_t* allocate(int64_t bytes) {
  const int64_t alignment = bytes < large_page ? 64 : large_page;
  const size_t size = size_t(round_up(bytes, alignment));
  void* memory = std::aligned_alloc(size_t(alignment), size);
  if (!memory) throw std::bad_alloc();
  // Only advice: it does not matter whether the system takes it.
  if (alignment == large_page) madvise(memory, size, MADV_HUGEPAGE);
  return static_cast<uint8_t*>(memory);
}

}  // namespace

uint8_t* Buffer::at_least(int64_t bytes) {
  if (bytes > size_) {
    size_ = 0;
    memory_.reset();  // before the larger one is there: never both
    memory_.reset(allocate(bytes));
    size_ = bytes;
  }
  return memory_.get();
}

uint8_t* thread_scratch(int64_t bytes) {
  static thread_local Buffer buffer;
  return buffer.at_least(bytes);
}

float* thread_numbers(int64_t count) {
  return reinterpret_cast<float*>(thread_scratch(count * int64_t(sizeof(float))));
}

}  // namespace g4
