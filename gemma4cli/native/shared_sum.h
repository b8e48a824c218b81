// Sums over several processes of one machine, through memory that they share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

class SharedRegion;

/// One process's end; all call the same functions with arrays of the same shapes in the same order.
///
/// Over a connection a sum of one token's hidden state takes hundreds of microseconds where the threads
/// that send and receive need the cores that compute. Here the thread that computes copies its numbers
/// for the others to read, and sleeps when it has waited for a while.
class SharedMemory {
 public:
  /// Bytes of the file for `size` processes; it is to be filled with zeros.
  static int64_t bytes(int size);

  /// Maps the file. Throws std::system_error where that fails, std::invalid_argument for another size.
  SharedMemory(const std::string& path, int rank, int size);

  /// The sum of all processes' `x`, of float32, int32 or uint32; the same in each of them.
  mlx::core::array sum(const mlx::core::array& x, mlx::core::StreamOrDevice device = {}) const;

  /// All processes' `x`, [size, ...].
  mlx::core::array gather(const mlx::core::array& x, mlx::core::StreamOrDevice device = {}) const;

 private:
  std::shared_ptr<SharedRegion> region_;
};

}  // namespace g4
