// Arrays whose numbers stay in a file.
#pragma once

#include <memory>
#include <string>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// A file whose bytes are arrays, without being read at once: pages are read when they are used, and
/// the system may drop them again. Changes of an array are not written to the file. The file stays
/// mapped for as long as an array uses it.
class MappedFile {
 public:
  /// Throws std::system_error if the file cannot be mapped.
  explicit MappedFile(const std::string& path);

  /// The tensor from byte `offset` on. Throws std::invalid_argument if the file is too short.
  mlx::core::array tensor(int64_t offset, mlx::core::Shape shape, mlx::core::Dtype dtype) const;

 private:
  std::shared_ptr<class Mapping> mapping_;
};

/// The same numbers as those of a tensor of a MappedFile, read into large pages when they are first
/// used. Of small pages a processor spends a third of its time on finding them, so this pays where a
/// tensor is read often. Any other array comes back as it is, and where the system has no large pages,
/// all do.
mlx::core::array in_large_pages(
    const mlx::core::array& tensor, mlx::core::StreamOrDevice stream = {});

}  // namespace g4
