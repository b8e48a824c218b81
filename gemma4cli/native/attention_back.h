// What goes back through attention.
#pragma once

#include <vector>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace g4 {

/// As `attention` has it, with what there is of arrays that say which keys are seen.
struct AttentionRule {
  float scale;
  bool causal;
  int64_t window;
  bool blocks_beyond_window, has_blocks, has_padding, has_mask;
};

/// The gradients of q, k and v for that of attention's result, [B, L, H * D]. `inputs` are those of
/// attention: q, k, v, then blocks, padding and mask. Some queries at a time: their scores are
/// computed again, so that those of all are never in memory.
std::vector<mlx::core::array> attention_back(
    const AttentionRule& rule, const std::vector<mlx::core::array>& inputs,
    const mlx::core::array& gradient, mlx::core::Stream stream);

}  // namespace g4
