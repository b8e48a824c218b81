#include "thread_pool.h"

#include "cpu_features.h"

namespace g4 {
namespace {

std::atomic<int> processes_sharing{1};

}  // namespace

void share_cores(int processes) { processes_sharing = std::max(1, processes); }

ThreadPool& ThreadPool::shared() {
  // Never destroyed: MLX's threads may still be running when the process ends.
  static ThreadPool* pool = new ThreadPool(std::max(1, usable_cores() / processes_sharing));
  return *pool;
}

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; i++) {
    workers_.emplace_back([this] { serve(); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  round_++;
  round_.notify_all();
  for (auto& worker : workers_) worker.join();
}

namespace {

/// Whether this thread computes a part: parts of a part are its own.
thread_local bool in_a_part = false;

}  // namespace

void ThreadPool::run(int64_t parts, Function function, const void* context) {
  // Work of another stream may have the workers: compute on this thread alone.
  std::unique_lock lock(one_at_a_time_, std::defer_lock);
  if (parts < 2 || workers_.empty() || in_a_part || !lock.try_lock()) {
    for (int64_t part = 0; part < parts; part++) function(context, part);
    return;
  }
  parts_ = parts;
  function_ = function;
  context_ = context;
  next_ = 0;
  open_ = true;
  round_++;
  round_.notify_all();
  take_parts();
  // All parts are taken. A worker that has not woken up by now must not join, and those that have
  // joined are waited for.
  open_ = false;
  for (uint32_t left = working_; left != 0; left = working_) working_.wait(left);
}

void ThreadPool::take_parts() {
  in_a_part = true;
  for (int64_t part = next_++; part < parts_; part = next_++) function_(context_, part);
  in_a_part = false;
}

void ThreadPool::serve() {
  uint32_t seen = 0;
  while (true) {
    round_.wait(seen);
    seen = round_;
    if (stopping_) return;
    // Counted before looking whether the round is open: whoever closes it sees the count.
    working_++;
    if (open_) take_parts();
    if (--working_ == 0) working_.notify_all();
  }
}

}  // namespace g4
