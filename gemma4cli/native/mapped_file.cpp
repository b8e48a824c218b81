#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"
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

}  // namespace

/// A whole file in memory.
class MappedFile::Mapping {
 public:
  explicit Mapping(const std::string& path)
      : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status;
    if (descriptor_ >= 0 && fstat(descriptor_, &status) == 0) {
      size_ = status.st_size;
      // Private and writable: MLX may compute in place, and the file must not change.
      start_ = mmap(
          nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor_, 0);
    }
    if (start_ == MAP_FAILED) {
      const int error = errno;
      if (descriptor_ >= 0) close(descriptor_);
      throw std::system_error(error, std::generic_category(), path);
    }
  }
  ~Mapping() {
    munmap(start_, size_);
    close(descriptor_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* start() const { return static_cast<char*>(start_); }
  int64_t size() const { return size_; }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
  void* start_ = MAP_FAILED;
  int64_t size_ = 0;
};

/// Room for a file's bytes, each at its offset; pages take memory when they are written.
class MappedFile::LargePages {
 public:
  explicit LargePages(int64_t size) : size_(size + page_size) {
    start_ = mmap(
        nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    madvise(start_, size_, MADV_HUGEPAGE);
  }
  ~LargePages() { munmap(start_, size_); }
  LargePages(const LargePages&) = delete;
  LargePages& operator=(const LargePages&) = delete;

  /// Where the file's first byte belongs: at the start of a large page.
  char* start() const {
    const auto address = reinterpret_cast<uintptr_t>(start_);
    return static_cast<char*>(start_) + (-address & (page_size - 1));
  }

 private:
  static constexpr int64_t page_size = 1 << 21;

  void* start_;
  int64_t size_;
};

/// Reads a tensor into its place in large pages.
class MappedFile::Read : public mx::Primitive {
 public:
  Read(mx::Stream stream, std::shared_ptr<Mapping> file, std::shared_ptr<LargePages> pages,
       int64_t offset)
      : mx::Primitive(stream), file_(std::move(file)), pages_(std::move(pages)), offset_(offset) {}

  void eval_cpu(const std::vector<mx::array>&, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    char* place = pages_->start() + offset_;
    out.set_data(mx::allocator::Data(
        mx::allocator::Buffer(place - buffer_header),
        [pages = pages_](mx::allocator::Buffer) {}));
    const int64_t size = out.nbytes();
    mx::cpu::get_command_encoder(stream()).dispatch([=, file = file_, offset = offset_] {
      std::atomic<bool> failed = false;
      parallel((size + part_size - 1) / part_size, [&](int64_t part) {
        const int64_t first = part * part_size, last = std::min(first + part_size, size);
        for (int64_t at = first; at < last;) {
          const auto count = pread(file->descriptor(), place + at, last - at, offset + at);
          if (count <= 0 && !(count < 0 && errno == EINTR)) failed = true;
          if (failed) return;
          at += std::max<int64_t>(count, 0);
        }
      });
      if (failed) throw std::runtime_error("the file of weights cannot be read any more");
    });
  }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error("g4's native part runs on CPUs only");
  }
  const char* name() const override { return "G4Read"; }

 private:
  static constexpr int64_t part_size = 1 << 21;

  std::shared_ptr<Mapping> file_;
  std::shared_ptr<LargePages> pages_;
  int64_t offset_;
};

MappedFile::MappedFile(const std::string& path) : mapping_(std::make_shared<Mapping>(path)) {
  static const bool expected = allocator_is_as_expected(), large_pages = has_large_pages();
  if (!expected) throw std::invalid_argument("this build of MLX does not keep arrays as expected");
  if (large_pages) large_pages_ = std::make_shared<LargePages>(mapping_->size());
}

mx::array MappedFile::tensor(int64_t offset, mx::Shape shape, mx::Dtype dtype) const {
  if (offset < int64_t(buffer_header) || bytes_of(shape, dtype) > mapping_->size() - offset) {
    throw std::invalid_argument("a tensor ends after the file");
  }
  // MLX writes files whose tensors start at odd bytes. The kernels here load from anywhere, and so do
  // MLX's own on the processors that this is built for. The deleter holds the mapping.
  mx::allocator::Data data(
      mx::allocator::Buffer(mapping_->start() + offset - buffer_header),
      [mapping = mapping_](mx::allocator::Buffer) {});
  return mx::array(std::move(data), std::move(shape), dtype);
}

mx::array MappedFile::resident(
    int64_t offset, mx::Shape shape, mx::Dtype dtype, mx::StreamOrDevice device) const {
  auto in_file = tensor(offset, std::move(shape), dtype);
  if (!large_pages_) return in_file;
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  return mx::array(
      in_file.shape(), dtype, std::make_shared<Read>(stream, mapping_, large_pages_, offset),
      std::vector<mx::array>{});
}

}  // namespace g4
