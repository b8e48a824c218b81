// Attention to keys and values that stay where the cache has them.
#pragma once

#include <optional>
#include <tuple>
#include <variant>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// Which keys the query at position p sees; the last query's position is that of the last key.
struct Visibility {
  bool causal = false;  // no key after p, but for those of p's block
  int window = 0;       // no key before p - window + 1; 0 for no such limit
  bool blocks_beyond_window = false;  // but for those of p's block
  // [L] int32: the number of each query's block, or -1. The queries of a block are neighbors.
  std::optional<mlx::core::array> blocks;
  // [B] int32: the first keys of each row that are empty. An empty query sees itself alone.
  std::optional<mlx::core::array> padding;
  // [L, S] or [B, 1, L, S] of booleans, instead of all of the above.
  std::optional<mlx::core::array> mask;
};

/// Keys or values: numbers [B, KV, S, D] of float32, or what `mx.quantize` makes of them in affine
/// groups, the packed numbers, scales and biases.
using Packed = std::tuple<mlx::core::array, mlx::core::array, mlx::core::array>;
using Rows = std::variant<mlx::core::array, Packed>;

/// softmax(scale * q k) v for q [B, H, L, D], k and v [B, KV, S, D] (float32): [B, L, H * D].
///
/// H / KV neighboring heads share keys and values. Only the last axes must be dense. Packed numbers
/// are unpacked a few keys at a time; they have no gradients, those of floats have.
mlx::core::array attention(
    const mlx::core::array& q, const Rows& k, const Rows& v, float scale,
    const Visibility& visibility, mlx::core::StreamOrDevice stream = {});

}  // namespace g4
