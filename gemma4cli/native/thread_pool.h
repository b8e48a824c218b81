// Threads that share the parts of one piece of work.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/sizes.h"

namespace g4 {

/// As many threads as the process may use cores, one of which is the caller's; see `share_cores`.
///
/// Threads take parts until none is left, so that one that is kept from running by another program
/// takes fewer of them. Waiting threads sleep.
class ThreadPool {
 public:
  static ThreadPool& shared();

  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Threads, with the caller's.
  int size() const { return int(workers_.size()) + 1; }

  /// Call `work(part)` for each part below `parts`; returns when all are done. `work` must not throw;
  /// where it runs parts itself, the same thread computes them.
  template <class Work>
  void run(int64_t parts, const Work& work) {
    run(parts, [](const void* context, int64_t part) { (*static_cast<const Work*>(context))(part); },
        &work);
  }

 private:
  using Function = void (*)(const void*, int64_t);

  void run(int64_t parts, Function function, const void* context);
  void take_parts();
  void serve();

  std::vector<std::thread> workers_;
  std::mutex one_at_a_time_;
  std::atomic<uint32_t> round_{0};    // changes when there is work
  std::atomic<uint32_t> working_{0};  // workers between the start and the end of a round
  std::atomic<bool> open_{false};     // whether workers may join the round
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> next_{0};
  int64_t parts_ = 0;
  Function function_ = nullptr;
  const void* context_ = nullptr;
};

/// Let the shared pool leave room for other processes that compute at the same time, `processes` with
/// this one. Call it before anything is computed.
void share_cores(int processes);

/// `ThreadPool::run` of the shared pool.
template <class Work>
void parallel(int64_t parts, const Work& work) {
  ThreadPool::shared().run(parts, work);
}

/// Numbers that one thread handles at least where little is done with each: about 20 microseconds.
constexpr int64_t numbers_per_part = 1 << 15;

/// `work(first, last)` for all ranges of `step` things of `count`, on the shared pool.
template <class Work>
void parallel_ranges(int64_t count, int64_t step, const Work& work) {
  parallel(ceil_div(count, step), [&](int64_t part) {
    const int64_t first = part * step;
    work(first, std::min(first + step, count));
  });
}

/// `parallel_ranges` of rows of `width` numbers, of which little is done with each.
template <class Work>
void parallel_rows(int64_t rows, int64_t width, const Work& work) {
  const int64_t step = numbers_per_part / std::max<int64_t>(1, width);
  parallel_ranges(rows, std::max<int64_t>(1, step), work);
}

}  // namespace g4
