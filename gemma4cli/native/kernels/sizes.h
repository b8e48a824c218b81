// Arithmetic of sizes, for the kernels and for what calls them.
//
// Kernels' files are compiled for one instruction set each. A function that several of them share
// must be inlined always: of copies that are not, the linker keeps any one, perhaps with instructions
// that this processor lacks.
#pragma once

#include <cstdint>

#define G4_INLINE inline __attribute__((always_inline))

namespace g4 {

/// a / b rounded up, for a >= 0 and b > 0.
constexpr G4_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The first multiple of `step` that is not below `value`.
constexpr G4_INLINE int64_t round_up(int64_t value, int64_t step) {
  return ceil_div(value, step) * step;
}

}  // namespace g4
