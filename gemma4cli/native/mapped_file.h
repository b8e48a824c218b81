// Arrays whose numbers stay in a file.
#pragma once

#include <string>

#include "mlx/array.h"

namespace g4 {

/// A tensor of `file` from byte `offset` on, without reading it: pages are read when they are used,
/// and the system may drop them again. Changes of the array are not written to the file.
///
/// Throws std::system_error if the file cannot be mapped, std::invalid_argument if it is too short.
mlx::core::array mapped_array(
    const std::string& file, int64_t offset, mlx::core::Shape shape, mlx::core::Dtype dtype);

}  // namespace g4
