#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "kernels/sizes.h"
#include "mlx/allocator.h"
#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// MLX's CPU allocator keeps a buffer's size before its bytes: data starts this far into a buffer.
constexpr size_t buffer_header = sizeof(size_t);

bool allocator_is_as_expected() {
  auto data = mx::allocator::malloc(64);
  auto buffer = data.buffer();
  return static_cast<char*>(buffer.raw_ptr()) == static_cast<char*>(buffer.ptr()) + buffer_header;
}

int64_t bytes_of(const mx::Shape& shape, mx::Dtype dtype) {
  int64_t bytes = mx::size_of(dtype);
  for (auto size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, int64_t(size), &bytes)) return INT64_MAX;
  }
  return bytes;
}

bool has_large_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string choices;
  return std::getline(file, choices) && choices.find("[never]") == std::string::npos;
}

/// Room for tensors of a file, one after the other; pages take memory when they are written.
class LargePages {
 public:
  explicit LargePages(int64_t size) : size_(size + page_size + before) {
    start_ = mmap(
        nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    madvise(start_, size_, MADV_HUGEPAGE);
  }
  ~LargePages() { munmap(start_, size_); }
  LargePages(const LargePages&) = delete;
  LargePages& operator=(const LargePages&) = delete;

  /// Where `size` bytes from `offset` on belong, the same at each call. Close to each other: of a file
  /// in parts, what lies between them would be as much as they are.
  char* place(int64_t offset, int64_t size) {
    const auto [known, is_new] = places_.try_emplace(offset, end_);
    if (is_new) end_ += size;
    return start() + known->second;
  }

 private:
  static constexpr uintptr_t page_size = 1 << 21;
  static constexpr int64_t before = 64;  // MLX may read what is before the first tensor

  /// The start of a large page.
  char* start() const {
    const auto address = reinterpret_cast<uintptr_t>(start_);
    return static_cast<char*>(start_) + (-address & (page_size - 1));
  }

  void* start_;
  int64_t size_, end_ = before;
  std::map<int64_t, int64_t> places_;  // by offsets in the file
};

}  // namespace

/// A whole file in memory.
class Mapping {
 public:
  explicit Mapping(const std::string& path)
      : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status;
    if (descriptor_ >= 0 && fstat(descriptor_, &status) == 0) {
      size_ = status.st_size;
      // Private and writable: MLX may compute in place, and the file must not change.
      start_ = static_cast<char*>(mmap(
          nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor_, 0));
    }
    if (start_ == MAP_FAILED) {
      const int error = errno;
      if (descriptor_ >= 0) close(descriptor_);
      throw std::system_error(error, std::generic_category(), path);
    }
    madvise(start_, size_, MADV_NOHUGEPAGE);
    madvise(start_, size_, MADV_RANDOM);
  }
  ~Mapping() {
    munmap(start_, size_);
    close(descriptor_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* start() const { return start_; }
  int64_t size() const { return size_; }

  /// Says that bytes of the file will be used. Where the file system can, the system then reads them
  /// into large pages, but for those that have other bytes too, which may be another process's. Linux
  /// maps all of a large page of a file at once, but not across a change of advice.
  void use(int64_t offset, int64_t size) {
    std::lock_guard lock(guard_);
    if (offset != used_end_) advised_ = small_advised_ = offset;
    used_end_ = offset + size;
    advise(small_advised_ / small_page * small_page, round_up(used_end_, small_page), MADV_NORMAL);
    advise(round_up(advised_, large_page), used_end_ / large_page * large_page, MADV_HUGEPAGE);
    small_advised_ = used_end_;
    advised_ = std::max(advised_, used_end_ / large_page * large_page);
  }

  /// Where bytes of the file belong in large pages, which last as long as the mapping.
  char* place(int64_t offset, int64_t size) {
    std::lock_guard lock(guard_);
    if (!large_pages_) large_pages_ = std::make_unique<LargePages>(size_);
    return large_pages_->place(offset, size);
  }

  /// Copies bytes to `place`, and no longer holds the pages that they were read from.
  void move(int64_t offset, int64_t size, char* place) const {
    std::atomic<bool> failed = false;
    parallel((size + part_size - 1) / part_size, [&](int64_t part) {
      const int64_t first = part * part_size, last = std::min(first + part_size, size);
      for (int64_t at = first; at < last && !failed;) {
        const auto count = pread(descriptor_, place + at, last - at, offset + at);
        if (count == 0 || (count < 0 && errno != EINTR)) failed = true;
        at += std::max<int64_t>(count, 0);
      }
    });
    if (failed) throw std::runtime_error("the file of weights cannot be read any more");
    const int64_t first = round_up(offset, small_page);
    const int64_t last = (offset + size) / small_page * small_page;
    if (last > first) madvise(start_ + first, last - first, MADV_DONTNEED);
  }

 private:
  static constexpr int64_t part_size = 1 << 21;
  static constexpr int64_t large_page = 1 << 21;  // of x86; smaller ones of others begin there, too
  const int64_t small_page = sysconf(_SC_PAGESIZE);

  void advise(int64_t first, int64_t last, int advice) {
    last = std::min(last, size_);
    if (first < last) madvise(start_ + first, last - first, advice);
  }

  int descriptor_;
  char* start_ = static_cast<char*>(MAP_FAILED);
  int64_t size_ = 0;
  int64_t used_end_ = -1, advised_ = 0, small_advised_ = 0;  // of the last bytes in one run
  std::mutex guard_;
  std::unique_ptr<LargePages> large_pages_;
};

namespace {

/// The mappings in use.
class Mappings {
 public:
  void add(const std::shared_ptr<Mapping>& mapping) {
    std::lock_guard lock(guard_);
    std::erase_if(known_, [](const auto& each) { return each.expired(); });
    known_.push_back(mapping);
  }

  /// The one that an address belongs to, or null.
  std::shared_ptr<Mapping> of(const char* address) {
    std::lock_guard lock(guard_);
    for (const auto& each : known_) {
      auto mapping = each.lock();
      if (mapping && address >= mapping->start() && address < mapping->start() + mapping->size()) {
        return mapping;
      }
    }
    return nullptr;
  }

 private:
  std::mutex guard_;
  std::vector<std::weak_ptr<Mapping>> known_;
};

Mappings& mappings() {
  static Mappings* all = new Mappings;
  return *all;
}

/// Moves a tensor from its file to its place in large pages.
class Move : public RowPrimitive {
 public:
  Move(mx::Stream stream, std::shared_ptr<Mapping> mapping, int64_t offset)
      : RowPrimitive(stream), mapping_(std::move(mapping)), offset_(offset) {}

  Work prepare(const std::vector<mx::array>&, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    char* place = mapping_->place(offset_, int64_t(out.nbytes()));
    out.set_data(mx::allocator::Data(
        mx::allocator::Buffer(place - buffer_header),
        [mapping = mapping_](mx::allocator::Buffer) {}));
    return [place, mapping = mapping_, offset = offset_, size = int64_t(out.nbytes())] {
      mapping->move(offset, size, place);
    };
  }
  const char* name() const override { return "G4Move"; }

 private:
  std::shared_ptr<Mapping> mapping_;
  int64_t offset_;
};

}  // namespace

MappedFile::MappedFile(const std::string& path) : mapping_(std::make_shared<Mapping>(path)) {
  static const bool expected = allocator_is_as_expected();
  if (!expected) throw std::invalid_argument("this build of MLX does not keep arrays as expected");
  mappings().add(mapping_);
}

mx::array MappedFile::tensor(int64_t offset, mx::Shape shape, mx::Dtype dtype) const {
  if (offset < int64_t(buffer_header) || bytes_of(shape, dtype) > mapping_->size() - offset) {
    throw std::invalid_argument("a tensor ends after the file");
  }
  mapping_->use(offset, bytes_of(shape, dtype));
  // MLX writes files whose tensors start at odd bytes. The kernels here load from anywhere, and so do
  // MLX's own on the processors that this is built for. The deleter holds the mapping.
  mx::allocator::Data data(
      mx::allocator::Buffer(mapping_->start() + offset - buffer_header),
      [mapping = mapping_](mx::allocator::Buffer) {});
  return mx::array(std::move(data), std::move(shape), dtype);
}

mx::array in_large_pages(const mx::array& tensor, mx::StreamOrDevice device) {
  static const bool large_pages = has_large_pages();
  if (!large_pages || !tensor.is_available() || !tensor.flags().row_contiguous) return tensor;
  const char* start = tensor.data<char>();
  auto mapping = mappings().of(start);
  if (!mapping) return tensor;
  const int64_t offset = start - mapping->start();
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  return mx::array(
      tensor.shape(), tensor.dtype(), std::make_shared<Move>(stream, std::move(mapping), offset),
      std::vector<mx::array>{});
}

}  // namespace g4
