// What the primitives do with the arrays that they take and give.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "mlx/array.h"
#include "mlx/backend/common/utils.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"

namespace g4 {

using Work = std::function<void()>;

/// All primitives of this module that give arrays row by row without gaps; they run on CPUs only.
class RowPrimitive : public mlx::core::Primitive {
 public:
  using Primitive::Primitive;

  /// Allocates the outputs and returns what computes them, on the stream's thread. The inputs have
  /// memory, but perhaps no contents yet.
  virtual Work prepare(
      const std::vector<mlx::core::array>& inputs, std::vector<mlx::core::array>& outputs) = 0;

  void eval_cpu(
      const std::vector<mlx::core::array>& inputs, std::vector<mlx::core::array>& outputs) override;
  void eval_gpu(const std::vector<mlx::core::array>&, std::vector<mlx::core::array>&) override {
    throw std::runtime_error("g4's native part runs on CPUs only");
  }
};

/// Throws std::invalid_argument: a primitive has no gradient for its input `number`.
[[noreturn]] void no_gradient(const char* primitive, int number);

/// `x` without gaps between its rows; a step is added to the graph only where it may be needed.
inline mlx::core::array in_rows(const mlx::core::array& x, mlx::core::Stream stream) {
  if (x.status() != mlx::core::array::Status::unscheduled) {
    if (x.flags().row_contiguous) return x;
  } else if (x.has_primitive() && dynamic_cast<const RowPrimitive*>(&x.primitive())) {
    return x;
  }
  return mlx::core::contiguous(x, false, stream);
}

/// `x` (4-byte numbers) with those of its last axis side by side, for use in `prepare`; the other axes
/// may have any strides. Copies only where it must.
mlx::core::array with_dense_last_axis(const mlx::core::array& x, mlx::core::Stream stream);

/// Memory for `out`, which is in rows.
inline void allocate(mlx::core::array& out) {
  out.set_data(mlx::core::allocator::malloc(out.nbytes()));
}

/// Memory for `out`: that of `x`, which must have its shape and be in rows, if nothing else needs it.
inline void allocate_like(const mlx::core::array& x, mlx::core::array& out) {
  if (mlx::core::is_donatable(x, out)) {
    out.copy_shared_buffer(x);
  } else {
    allocate(out);
  }
}

/// Rows of the last axis; none if that is empty.
inline int64_t row_count(const mlx::core::array& x) {
  return x.size() == 0 ? 0 : int64_t(x.size()) / x.shape(-1);
}

/// Throws std::invalid_argument unless `x` holds float32 and has an axis.
inline void require_float32(const mlx::core::array& x, const char* function) {
  if (x.dtype() != mlx::core::float32 || x.ndim() == 0) {
    throw std::invalid_argument(std::string(function) + ": arrays must hold float32");
  }
}

}  // namespace g4
