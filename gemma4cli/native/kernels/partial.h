// Vectors of which only some lanes are in memory; nothing beyond these is read or written.
#pragma once

#include "simd.h"

namespace g4::G4_SET {

/// `count` numbers of the size of a lane, or as many as there are lanes; the other lanes are zero.
template <class Lanes>
inline Lanes load_some(const void* at, int64_t count) {
  constexpr int size = sizeof(Lanes) / lanes;
  if (count >= lanes) return load_as<Lanes>(at);
#if defined(G4_SET_avx512)
  const uint32_t some = (1u << count) - 1;
  if constexpr (size == 4) return (Lanes)_mm512_maskz_loadu_epi32(__mmask16(some), at);
  if constexpr (size == 2) return (Lanes)_mm256_maskz_loadu_epi16(__mmask16(some), at);
  if constexpr (size == 1) return (Lanes)_mm_maskz_loadu_epi8(__mmask16(some), at);
#endif
  Lanes numbers = {};
  std::memcpy(&numbers, at, size_t(count * size));
  return numbers;
}

inline Vec load_some(const float* at, int64_t count) { return load_some<Vec>(at, count); }

inline void store_some(float* at, Vec value, int64_t count) {
  if (count >= lanes) return store(at, value);
  std::memcpy(at, &value, size_t(count) * sizeof(float));
}

}  // namespace g4::G4_SET
