#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>

#include "mlx/allocator.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// A whole file in memory, for as long as an array uses it.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw std::system_error(errno, std::generic_category(), path);
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
      const int error = errno;
      close(descriptor);
      throw std::system_error(error, std::generic_category(), path);
    }
    size_ = status.st_size;
    // Private and writable: MLX may compute in place, and the file must not change.
    start_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
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
  void* start_;
  int64_t size_;
};

/// The mapping of a file, shared by its tensors.
std::shared_ptr<Mapping> mapping_of(const std::string& path) {
  static std::mutex guard;
  static std::map<std::string, std::weak_ptr<Mapping>> open_mappings;
  std::lock_guard lock(guard);
  auto& known = open_mappings[path];
  auto mapping = known.lock();
  if (!mapping) known = mapping = std::make_shared<Mapping>(path);
  return mapping;
}

/// MLX's CPU allocator keeps a buffer's size before its bytes: data starts this far into a buffer.
constexpr size_t buffer_header = sizeof(size_t);

bool allocator_is_as_expected() {
  auto data = mx::allocator::malloc(64);
  auto buffer = data.buffer();
  return static_cast<char*>(buffer.raw_ptr()) == static_cast<char*>(buffer.ptr()) + buffer_header;
}

}  // namespace

mx::array mapped_array(const std::string& file, int64_t offset, mx::Shape shape, mx::Dtype dtype) {
  static const bool expected = allocator_is_as_expected();
  if (!expected) throw std::invalid_argument("this build of MLX does not keep arrays as expected");
  auto mapping = mapping_of(file);
  int64_t bytes = mx::size_of(dtype);
  for (auto size : shape) bytes *= size;
  if (offset < int64_t(buffer_header) || offset > mapping->size() - bytes) {
    throw std::invalid_argument(file + " is too short");
  }
  char* start = mapping->start() + offset;
  // MLX writes files whose tensors start at odd bytes. The kernels here load from anywhere, and so do
  // MLX's own on the processors that this is built for.
  // The deleter holds the mapping.
  mx::allocator::Data data(
      mx::allocator::Buffer(start - buffer_header), [mapping](mx::allocator::Buffer) {});
  return mx::array(std::move(data), std::move(shape), dtype);
}

}  // namespace g4
