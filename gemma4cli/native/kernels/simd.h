// A vector of float32 lanes for the instruction set that a file is compiled for.
//
// GCC's and Clang's vector types give arithmetic on every processor; the functions below are what
// they lack. Everything lives in the namespace of the set, because the same code is compiled several
// times with different flags: no function may be shared between them by the linker. For the same
// reason these files use no functions of the standard library that the linker could merge.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace g4::G4_SET {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are stored in this order");

#if defined(G4_SET_avx512)
inline constexpr int lanes = 16;
#elif defined(G4_SET_avx2)
inline constexpr int lanes = 8;
#else
inline constexpr int lanes = 4;
#endif

// They are aligned like the registers: `load_as`, `load` and `store` take numbers from anywhere.
typedef float Vec __attribute__((vector_size(lanes * 4)));
typedef int32_t IVec __attribute__((vector_size(lanes * 4)));
typedef uint32_t UVec __attribute__((vector_size(lanes * 4)));
typedef uint16_t HVec __attribute__((vector_size(lanes * 2)));
typedef uint8_t BVec __attribute__((vector_size(lanes)));

template <class T>
T load_as(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

inline Vec load(const float* at) { return load_as<Vec>(at); }
inline void store(float* at, Vec value) { std::memcpy(at, &value, sizeof value); }
inline Vec fill(float value) { return value - Vec{}; }

// GCC widens vectors of 16-bit numbers in more steps than the processor needs.
#if defined(G4_SET_avx512)
inline UVec widen(HVec numbers) { return (UVec)_mm512_cvtepu16_epi32((__m256i)numbers); }
#elif defined(G4_SET_avx2)
inline UVec widen(HVec numbers) { return (UVec)_mm256_cvtepu16_epi32((__m128i)numbers); }
#else
inline UVec widen(HVec numbers) { return __builtin_convertvector(numbers, UVec); }
#endif

inline Vec load_bf16(const uint8_t* at) { return (Vec)(widen(load_as<HVec>(at)) << 16); }

inline float bf16(const uint8_t* at) {
  const uint32_t bits = uint32_t(load_as<uint16_t>(at)) << 16;
  return load_as<float>(&bits);
}

#if defined(__F16C__) || defined(__AVX512F__)
inline float f16(const uint8_t* at) { return _cvtsh_ss(load_as<uint16_t>(at)); }
#elif defined(__aarch64__)
inline float f16(const uint8_t* at) { return float(load_as<__fp16>(at)); }
#else
inline float f16(const uint8_t* at) {
  const uint32_t half = load_as<uint16_t>(at);
  // Move exponent and mantissa into place and rebias by a product, which is right for subnormals.
  const uint32_t moved = (half & 0x7fff) << 13;
  float value = load_as<float>(&moved) * 0x1p112f;
  if ((half & 0x7c00) == 0x7c00) {
    const uint32_t special = 0x7f800000 | ((half & 0x3ff) << 13);
    value = load_as<float>(&special);
  }
  return half & 0x8000 ? -value : value;
}
#endif

#if defined(G4_SET_avx512)
inline Vec load_f16(const uint8_t* at) { return (Vec)_mm512_cvtph_ps(load_as<__m256i>(at)); }
inline float sum(Vec x) { return _mm512_reduce_add_ps((__m512)x); }
inline float largest(Vec x) { return _mm512_reduce_max_ps((__m512)x); }
#elif defined(G4_SET_avx2)
inline Vec load_f16(const uint8_t* at) { return (Vec)_mm256_cvtph_ps(load_as<__m128i>(at)); }
#elif defined(G4_SET_neon)
inline Vec load_f16(const uint8_t* at) { return (Vec)vcvt_f32_f16(load_as<float16x4_t>(at)); }
#else
inline Vec load_f16(const uint8_t* at) {
  Vec value;
  for (int i = 0; i < lanes; i++) value[i] = f16(at + 2 * i);
  return value;
}
#endif

#if !defined(G4_SET_avx512)
inline float sum(Vec x) {
  float total = 0;
  for (int i = 0; i < lanes; i++) total += x[i];
  return total;
}
inline float largest(Vec x) {
  float most = x[0];
  for (int i = 1; i < lanes; i++) most = x[i] > most ? x[i] : most;
  return most;
}
#endif

inline Vec choose(IVec which, Vec yes, Vec no) { return which ? yes : no; }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }

/// Numbers outside become the limit; NaN stays so, because it is the second operand.
inline Vec within(Vec x, float low, float high) { return min(fill(high), max(fill(low), x)); }

/// The next address where vectors do not cross the cache's lines; up to 15 numbers on.
inline float* aligned(float* at) {
  return at + (-reinterpret_cast<uintptr_t>(at) % 64) / sizeof(float);
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace g4::G4_SET
