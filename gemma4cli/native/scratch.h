// Memory that is kept from one call to the next, so that its pages need not be mapped anew.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace g4 {

/// Memory that grows to what was last asked for.
class Buffer {
 public:
  /// At least `bytes` bytes from a multiple of 64 on, with anything in them. What was given before is
  /// no longer valid where it was smaller.
  uint8_t* at_least(int64_t bytes);

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };

  std::unique_ptr<uint8_t, Free> memory_;
  int64_t size_ = 0;
};

/// The calling thread's own buffer. A part of some work may use it until the part ends, if it runs no
/// other parts meanwhile.
uint8_t* thread_scratch(int64_t bytes);

/// The same memory, for `count` numbers.
float* thread_numbers(int64_t count);

}  // namespace g4
