#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>
#include <system_error>

#include "mlx/allocator.h"

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

}  // namespace

/// A whole file in memory.
class MappedFile::Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw std::system_error(errno, std::generic_category(), path);
    struct stat status;
    if (fstat(descriptor, &status) == 0) {
      size_ = status.st_size;
      // Private and writable: MLX may compute in place, and the file must not change.
      start_ = mmap(
          nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    }
    const int error = errno;
    close(descriptor);
    if (start_ == MAP_FAILED) throw std::system_error(error, std::generic_category(), path);
  }
  ~Mapping() { munmap(start_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* start() const { return static_cast<char*>(start_); }
  int64_t size() const { return size_; }

 private:
  void* start_ = MAP_FAILED;
  int64_t size_ = 0;
};

MappedFile::MappedFile(const std::string& path) : mapping_(std::make_shared<Mapping>(path)) {
  static const bool expected = allocator_is_as_expected();
  if (!expected) throw std::invalid_argument("this build of MLX does not keep arrays as expected");
}

mx::array MappedFile::tensor(int64_t offset, mx::Shape shape, mx::Dtype dtype) const {
  int64_t bytes = mx::size_of(dtype);
  for (auto size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, int64_t(size), &bytes)) bytes = INT64_MAX;
  }
  if (offset < int64_t(buffer_header) || bytes > mapping_->size() - offset) {
    throw std::invalid_argument("a tensor ends after the file");
  }
  // MLX writes files whose tensors start at odd bytes. The kernels here load from anywhere, and so do
  // MLX's own on the processors that this is built for. The deleter holds the mapping.
  mx::allocator::Data data(
      mx::allocator::Buffer(mapping_->start() + offset - buffer_header),
      [mapping = mapping_](mx::allocator::Buffer) {});
  return mx::array(std::move(data), std::move(shape), dtype);
}

}  // namespace g4
