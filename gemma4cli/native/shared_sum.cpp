#include "shared_sum.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <system_error>

#include "operands.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Bytes that a process gives to the others at a time, and looks at a counter before it sleeps: some
/// tens of microseconds, in which the others usually arrive.
constexpr int64_t part_size = 1 << 20;
constexpr int looks = 1000;

/// Rounds that a process has come to, in a cache line of its own.
struct alignas(64) Counter {
  std::atomic<uint32_t> rounds;
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

uint32_t* word_of(std::atomic<uint32_t>& counter) { return reinterpret_cast<uint32_t*>(&counter); }

void wait_for(std::atomic<uint32_t>& counter, uint32_t round) {
  for (int look = 0;; look++) {
    const uint32_t seen = counter.load(std::memory_order_acquire);
    if (int32_t(seen - round) >= 0) return;
    if (look < looks) {
      pause();
      continue;
    }
    const timespec limit{1, 0};
    syscall(SYS_futex, word_of(counter), FUTEX_WAIT, seen, &limit, nullptr, 0);
  }
}

}  // namespace

/// A counter for each process, then two places for a part of each: while the others read one, the next
/// part is written into the other. Whoever comes to a round has read all of the one before it.
class SharedRegion {
 public:
  SharedRegion(const std::string& path, int rank, int size) : rank_(rank), size_(size) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) throw std::system_error(errno, std::generic_category(), path);
    struct stat status;
    const bool fits = fstat(descriptor, &status) == 0 && status.st_size == SharedMemory::bytes(size);
    void* found = fits ? mmap(
                             nullptr, SharedMemory::bytes(size), PROT_READ | PROT_WRITE, MAP_SHARED,
                             descriptor, 0)
                       : MAP_FAILED;
    const int error = errno;
    close(descriptor);
    if (!fits) throw std::invalid_argument("SharedMemory: the file has another size");
    if (found == MAP_FAILED) throw std::system_error(error, std::generic_category(), path);
    start_ = static_cast<char*>(found);
  }
  ~SharedRegion() { munmap(start_, SharedMemory::bytes(size_)); }
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  int size() const { return size_; }

  /// `take(rank, first, part, count)` for each process's bytes, a part at a time and in order of ranks.
  template <class Take>
  void exchange(const char* own, int64_t bytes, const Take& take) {
    std::lock_guard lock(one_at_a_time_);
    for (int64_t first = 0; first < bytes; first += part_size) {
      const int64_t count = std::min(part_size, bytes - first);
      const uint32_t round = ++round_;
      std::memcpy(place(rank_, round), own + first, count);
      auto& counter = counter_of(rank_);
      counter.store(round, std::memory_order_release);
      syscall(SYS_futex, word_of(counter), FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
      for (int rank = 0; rank < size_; rank++) {
        wait_for(counter_of(rank), round);
        take(rank, first, place(rank, round), count);
      }
    }
  }

 private:
  std::atomic<uint32_t>& counter_of(int rank) const {
    return reinterpret_cast<Counter*>(start_)[rank].rounds;
  }
  char* place(int rank, uint32_t round) const {
    return start_ + size_ * sizeof(Counter) + (2 * rank + round % 2) * part_size;
  }

  int rank_, size_;
  char* start_ = nullptr;
  std::mutex one_at_a_time_;
  uint32_t round_ = 0;
};

namespace {

template <class Number>
void add(int rank, const char* part, int64_t bytes, char* out) {
  if (rank == 0) {
    std::memcpy(out, part, bytes);
    return;
  }
  const auto* numbers = reinterpret_cast<const Number*>(part);
  auto* sums = reinterpret_cast<Number*>(out);
  for (int64_t i = 0; i < bytes / int64_t(sizeof(Number)); i++) sums[i] += numbers[i];
}

class SharedSum : public RowPrimitive {
 public:
  SharedSum(mx::Stream stream, std::shared_ptr<SharedRegion> region)
      : RowPrimitive(stream), region_(std::move(region)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    // A part of the numbers is where the others read it before its sum is written.
    allocate_like(inputs[0], outputs[0]);
    const bool is_float = inputs[0].dtype() == mx::float32;
    return [region = region_, own = inputs[0].data<char>(), out = outputs[0].data<char>(),
            bytes = int64_t(outputs[0].nbytes()), add = is_float ? add<float> : add<uint32_t>] {
      region->exchange(own, bytes, [&](int rank, int64_t first, const char* part, int64_t count) {
        add(rank, part, count, out + first);
      });
    };
  }
  const char* name() const override { return "G4SharedSum"; }

 private:
  std::shared_ptr<SharedRegion> region_;
};

class SharedGather : public RowPrimitive {
 public:
  SharedGather(mx::Stream stream, std::shared_ptr<SharedRegion> region)
      : RowPrimitive(stream), region_(std::move(region)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    return [region = region_, own = inputs[0].data<char>(), out = outputs[0].data<char>(),
            bytes = int64_t(inputs[0].nbytes())] {
      region->exchange(own, bytes, [&](int rank, int64_t first, const char* part, int64_t count) {
        std::memcpy(out + rank * bytes + first, part, count);
      });
    };
  }
  const char* name() const override { return "G4SharedGather"; }

 private:
  std::shared_ptr<SharedRegion> region_;
};

}  // namespace

int64_t SharedMemory::bytes(int size) { return size * (sizeof(Counter) + 2 * part_size); }

SharedMemory::SharedMemory(const std::string& path, int rank, int size) {
  if (size < 1 || rank < 0 || rank >= size) {
    throw std::invalid_argument("SharedMemory: there is no such process");
  }
  region_ = std::make_shared<SharedRegion>(path, rank, size);
}

mx::array SharedMemory::sum(const mx::array& x, mx::StreamOrDevice device) const {
  if (x.dtype() != mx::float32 && x.dtype() != mx::int32 && x.dtype() != mx::uint32) {
    throw std::invalid_argument("SharedMemory: sums are of float32, int32 and uint32");
  }
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  return mx::array(
      x.shape(), x.dtype(), std::make_shared<SharedSum>(stream, region_),
      std::vector<mx::array>{in_rows(x, stream)});
}

mx::array SharedMemory::gather(const mx::array& x, mx::StreamOrDevice device) const {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  mx::Shape shape = x.shape();
  shape.insert(shape.begin(), region_->size());
  return mx::array(
      std::move(shape), x.dtype(), std::make_shared<SharedGather>(stream, region_),
      std::vector<mx::array>{in_rows(x, stream)});
}

}  // namespace g4
