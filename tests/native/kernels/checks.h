// What the tests of the kernels share: random numbers, memory that ends at a forbidden page, and
// comparisons with results in double precision.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace g4::test {

using Exact = std::vector<double>;

inline int failures = 0;

/// The same numbers in every run.
inline std::mt19937& generator() {
  static std::mt19937 shared(4);
  return shared;
}

inline double normal() {
  static std::normal_distribution<double> distribution;
  return distribution(generator());
}

inline int64_t below(int64_t limit) { return int64_t(generator()() % uint64_t(limit)); }

/// An array at the end of a page, `gap` bytes before another that must not be touched.
template <class T>
class Guarded {
 public:
  explicit Guarded(int64_t count, int64_t gap = 0) : count_(count) {
    const int64_t page = sysconf(_SC_PAGESIZE), bytes = count * int64_t(sizeof(T)) + gap;
    pages_ = (bytes + page - 1) / page * page;
    void* at = mmap(
        nullptr, size_t(pages_ + page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(static_cast<char*>(at) + pages_, size_t(page), PROT_NONE)) {
      std::perror("memory");
      std::exit(2);
    }
    memory_ = static_cast<char*>(at);
    pages_ += page;
    data_ = reinterpret_cast<T*>(memory_ + pages_ - page - bytes);
  }
  ~Guarded() { munmap(memory_, size_t(pages_)); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return count_; }

 private:
  int64_t count_, pages_ = 0;
  char* memory_ = nullptr;
  T* data_ = nullptr;
};

inline void fill_normal(Guarded<float>& array, double spread = 1) {
  for (int64_t i = 0; i < array.size(); i++) array[i] = float(spread * normal());
}

/// Results that no kernel gives: what keeps them was not written.
inline void fill_untouched(Guarded<float>& array) {
  for (int64_t i = 0; i < array.size(); i++) array[i] = -12345.f;
}

inline bool untouched(float value) { return value == -12345.f; }

inline void fail(const std::string& what) {
  std::printf("FAIL %s\n", what.c_str());
  failures++;
}

/// The square root of the mean of squares.
inline double spread_of(const double* values, int64_t count) {
  double squares = 0;
  for (int64_t i = 0; i < count; i++) squares += values[i] * values[i];
  return std::sqrt(squares / double(count));
}

/// Compare `count` results with exact ones that may differ by `allowed`, times the spread of each.
inline void compare(
    const std::string& what, const float* got, const double* exact, int64_t count, double allowed,
    const double* spreads = nullptr) {
  for (int64_t i = 0; i < count; i++) {
    if (!(std::fabs(got[i] - exact[i]) <= allowed * (spreads ? spreads[i] : 1))) {
      fail(what + ": number " + std::to_string(i) + " is " + std::to_string(got[i]) + ", not " +
           std::to_string(exact[i]));
      return;
    }
  }
}

}  // namespace g4::test
