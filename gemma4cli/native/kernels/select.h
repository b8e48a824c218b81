// Places of large numbers.
#pragma once

#include "simd.h"

namespace g4::G4_SET {

#if defined(G4_SET_avx512)
/// Whether a lane is above the limit, or either is NaN.
inline bool any_above(Vec x, Vec limit) {
  return _mm512_cmp_ps_mask((__m512)x, (__m512)limit, _CMP_NLE_UQ) != 0;
}
#elif defined(G4_SET_avx2)
inline bool any_above(Vec x, Vec limit) {
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, (__m256)limit, _CMP_NLE_UQ)) != 0;
}
#elif defined(G4_SET_neon)
inline bool any_above(Vec x, Vec limit) {
  return vminvq_u32((uint32x4_t)(x <= limit)) == 0;
}
#else
inline bool any_above(Vec x, Vec limit) {
  const IVec within = x <= limit;
  int32_t all = -1;
  for (int i = 0; i < lanes; i++) all &= within[i];
  return all == 0;
}
#endif

inline int64_t select_above(const float* x, int64_t count, float limit, int32_t* places) {
  int64_t found = 0, i = 0;
  const Vec limits = fill(limit);
  for (; i + lanes <= count; i += lanes) {
    if (!any_above(load(x + i), limits)) continue;
    for (int64_t j = i; j < i + lanes; j++) {
      if (!(x[j] <= limit)) places[found++] = int32_t(j);
    }
  }
  for (; i < count; i++) {
    if (!(x[i] <= limit)) places[found++] = int32_t(i);
  }
  return found;
}

}  // namespace g4::G4_SET
