// Arrays whose numbers stay in a file.
#pragma once

#include <memory>
#include <string>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// A file of weights, of which each tensor is an array that nothing reads before it is used.
class MappedFile {
 public:
  /// Throws std::system_error if the file cannot be mapped.
  explicit MappedFile(const std::string& path);

  /// The tensor from byte `offset` on, in the file itself: pages are read when they are used, and the
  /// system may drop them again. Changes of the array are not written to the file. For tables of
  /// which few rows are read.
  ///
  /// Throws std::invalid_argument if the file is too short.
  mlx::core::array tensor(int64_t offset, mlx::core::Shape shape, mlx::core::Dtype dtype) const;

  /// The same, read as a whole into large pages when it is first used. Where all of a tensor is read
  /// again and again, that is faster by a third and more: of small pages, the processor spends much
  /// of its time on finding them. Without large pages it stays in the file.
  mlx::core::array resident(
      int64_t offset, mlx::core::Shape shape, mlx::core::Dtype dtype,
      mlx::core::StreamOrDevice stream = {}) const;

 private:
  class Mapping;
  class LargePages;
  class Read;
  std::shared_ptr<Mapping> mapping_;
  std::shared_ptr<LargePages> large_pages_;  // null where the system has none
};

}  // namespace g4
