// Packed numbers of a row, as vectors of words from which the numbers can be taken at once.
//
// A lane of `words` holds `per_lane` consecutive numbers, `bits` apart from bit 0 on. A format's
// `value(words, j)` is the j-th number of all lanes, times 1 / factor(j): leaving a field in its
// place saves the shift, and the factor is put into the input. So a block of `per_lane * lanes`
// numbers comes as `per_lane` vectors, and the input is laid out likewise (see `position`).
// `words` reads just the bytes of one block.
#pragma once

#include "simd.h"
#include "sizes.h"
#include "unpack.h"

namespace g4::G4_SET {

#if defined(G4_SET_avx512)
G4_INLINE Vec look_up(UVec index, Vec table) {
  return (Vec)_mm512_permutexvar_ps((__m512i)index, (__m512)table);
}
#endif

/// Two to the power -n.
constexpr float negative_power(int n) { return n == 0 ? 1 : negative_power(n - 1) / 2; }

/// Words of 32 bits as they are stored.
struct WholeWords {
  static G4_INLINE UVec load(const uint8_t* at) { return load_as<UVec>(at); }
};

/// Each three bytes in a word.
struct ThreeBytes {
  static G4_INLINE UVec load(const uint8_t* at) {
#if defined(G4_SET_avx512)
    const __m512i spread = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m512i words = _mm512_maskz_expandloadu_epi32(0x7777, at);
    return (UVec)_mm512_shuffle_epi8(words, spread);
#elif defined(G4_SET_avx2)
    const __m256i spread = _mm256_setr_epi8(
        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
        4, 5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
    const __m256i words =
        _mm256_set_m128i(load_as<__m128i>(at + 8), load_as<__m128i>(at));
    return (UVec)_mm256_shuffle_epi8(words, spread);
#else
    UVec words;
    for (int i = 0; i < lanes; i++) {
      const uint8_t* byte = at + 3 * i;
      words[i] = load_as<uint16_t>(byte) | uint32_t(byte[2]) << 16;
    }
    return words;
#endif
  }
};

/// Each two and a half bytes in a word, with what follows them.
struct TwentyBits {
  static G4_INLINE UVec load(const uint8_t* at) {
#if defined(G4_SET_avx512)
    const __m512i order = _mm512_setr_epi32(0, 1, 2, 0, 2, 3, 4, 0, 5, 6, 7, 0, 7, 8, 9, 0);
    const __m128i even = _mm_setr_epi8(0, 1, 2, -1, 2, 3, 4, -1, 5, 6, 7, -1, 7, 8, 9, -1);
    const __m128i odd = _mm_setr_epi8(2, 3, 4, -1, 4, 5, 6, -1, 7, 8, 9, -1, 9, 10, 11, -1);
    const __m512i spread = _mm512_inserti32x4(
        _mm512_inserti32x4(_mm512_broadcast_i32x4(even), odd, 1), odd, 3);
    const __m512i words =
        _mm512_permutexvar_epi32(order, _mm512_maskz_loadu_epi32(0x3ff, at));
    const __m512i shift = _mm512_set1_epi64(int64_t(4) << 32);
    return (UVec)_mm512_srlv_epi32(_mm512_shuffle_epi8(words, spread), shift);
#elif defined(G4_SET_avx2)
    const __m256i spread = _mm256_setr_epi8(
        0, 1, 2, -1, 2, 3, 4, -1, 5, 6, 7, -1, 7, 8, 9, -1,
        6, 7, 8, -1, 8, 9, 10, -1, 11, 12, 13, -1, 13, 14, 15, -1);
    const __m256i words =
        _mm256_set_m128i(load_as<__m128i>(at + 4), load_as<__m128i>(at));
    const __m256i shift = _mm256_set1_epi64x(int64_t(4) << 32);
    return (UVec)_mm256_srlv_epi32(_mm256_shuffle_epi8(words, spread), shift);
#else
    UVec words;
    for (int i = 0; i < lanes; i++) {
      const uint8_t* byte = at + 5 * i / 2;
      words[i] = (load_as<uint16_t>(byte) | uint32_t(byte[2]) << 16) >> (i % 2 * 4);
    }
    return words;
#endif
  }
};

template <int bits> struct WordsOf { using Type = WholeWords; };
template <> struct WordsOf<3> { using Type = ThreeBytes; };
template <> struct WordsOf<5> { using Type = TwentyBits; };
template <> struct WordsOf<6> { using Type = ThreeBytes; };

/// Whole numbers of 2 to 8 bits.
template <int bits_>
struct IntegerWords {
  static constexpr int bits = bits_;
  static constexpr int vectors = bits == 2 ? 16 : bits <= 4 ? 8 : 4;
  static constexpr bool by_table =
#if defined(G4_SET_avx512)
      bits <= 4;
#else
      false;
#endif
  static constexpr bool fills_word = bits * vectors == 32;
  using Words = UVec;

  static constexpr int position(int lane, int j) { return lane * vectors + j; }
  static constexpr float factor(int j) {
    return by_table || (fills_word && j == vectors - 1) ? 1 : negative_power(j * bits);
  }
  static G4_INLINE Words words(const uint8_t* at) { return WordsOf<bits>::Type::load(at); }
  static G4_INLINE Vec value(Words words, int j) {
    constexpr uint32_t mask = (1u << bits) - 1;
#if defined(G4_SET_avx512)
    if constexpr (by_table) {
      // The permute takes the lowest four bits of each index: higher ones may be anything.
      constexpr int m = int(mask);
      const Vec table = {
          0, 1, 2 & m, 3 & m, 4 & m, 5 & m, 6 & m, 7 & m,
          8 & m, 9 & m, 10 & m, 11 & m, 12 & m, 13 & m, 14 & m, 15 & m};
      return look_up(words >> (j * bits), table);
    }
#endif
    // As signed numbers, which all processors convert: the top field must leave the sign bit.
    if (fills_word && j == vectors - 1) return __builtin_convertvector((IVec)(words >> (32 - bits)), Vec);
    return __builtin_convertvector((IVec)(words & (mask << (j * bits))), Vec);
  }
};

/// E2M1, the numbers of mxfp4 and nvfp4.
struct E2m1Words {
  static constexpr int bits = 4;
  static constexpr int vectors = 8;

  static constexpr int position(int lane, int j) { return lane * vectors + j; }

#if defined(G4_SET_avx512)
  using Words = UVec;
  static constexpr float factor(int) { return 1; }
  static G4_INLINE Words words(const uint8_t* at) { return load_as<UVec>(at); }
  static G4_INLINE Vec value(Words words, int j) {
    return look_up(words >> (4 * j), load(e2m1));
  }
#elif defined(G4_SET_avx2) || defined(G4_SET_neon)
  // Bytes with twice the number, those of even and of odd positions.
  struct Words { UVec even, odd; };
  static constexpr float factor(int) { return negative_power(25); }
  static G4_INLINE Words words(const uint8_t* at) {
#if defined(G4_SET_avx2)
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
    const __m256i packed = load_as<__m256i>(at), mask = _mm256_set1_epi8(15);
    return {
        (UVec)_mm256_shuffle_epi8(table, _mm256_and_si256(packed, mask)),
        (UVec)_mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask))};
#else
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const int8x16_t table = vld1q_s8(doubled);
    const uint8x16_t packed = vld1q_u8(at);
    return {
        (UVec)vqtbl1q_s8(table, vandq_u8(packed, vdupq_n_u8(15))),
        (UVec)vqtbl1q_s8(table, vshrq_n_u8(packed, 4))};
#endif
  }
  static G4_INLINE Vec value(Words words, int j) {
    const UVec bytes = (j % 2 ? words.odd : words.even) << (24 - j / 2 * 8);
    return __builtin_convertvector((IVec)(bytes & 0xff000000), Vec);
  }
#else
  using Words = UVec;
  static constexpr float factor(int) { return 1; }
  static G4_INLINE Words words(const uint8_t* at) { return load_as<UVec>(at); }
  static G4_INLINE Vec value(Words words, int j) {
    Vec value;
    for (int i = 0; i < lanes; i++) value[i] = e2m1[words[i] >> (4 * j) & 15];
    return value;
  }
#endif
};

/// E4M3, the numbers of mxfp8, in their order.
struct E4m3Bytes {
  static constexpr int bits = 8;
  static constexpr int vectors = 32 / lanes;

  static constexpr int position(int lane, int j) { return j * lanes + lane; }

#if defined(G4_SET_avx512)
  // As half floats whose exponent is 8 too small, which the conversion takes subnormal or not.
  using Words = __m512i;
  static constexpr float factor(int) { return 256; }
  static G4_INLINE Words words(const uint8_t* at) {
    const __m512i wide = _mm512_cvtepi8_epi16(load_as<__m256i>(at));
    return _mm512_and_si512(_mm512_slli_epi16(wide, 7), _mm512_set1_epi16(int16_t(0xbf80)));
  }
  static G4_INLINE Vec value(Words words, int j) {
    return (Vec)_mm512_cvtph_ps(
        j ? _mm512_extracti64x4_epi64(words, 1) : _mm512_castsi512_si256(words));
  }
#elif defined(G4_SET_avx2)
  struct Words { __m256i half[2]; };
  static constexpr float factor(int) { return 256; }
  static G4_INLINE __m256i halves(const uint8_t* at) {
    const __m256i wide = _mm256_cvtepi8_epi16(load_as<__m128i>(at));
    return _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(int16_t(0xbf80)));
  }
  static G4_INLINE Words words(const uint8_t* at) { return {{halves(at), halves(at + 16)}}; }
  static G4_INLINE Vec value(Words words, int j) {
    const __m256i half = words.half[j / 2];
    return (Vec)_mm256_cvtph_ps(
        j % 2 ? _mm256_extracti128_si256(half, 1) : _mm256_castsi256_si128(half));
  }
#elif defined(G4_SET_neon)
  using Words = const uint8_t*;
  static constexpr float factor(int) { return 256; }
  static G4_INLINE Words words(const uint8_t* at) { return at; }
  static G4_INLINE Vec value(Words words, int j) {
    const int8x8_t bytes = vcreate_s8(load_as<uint32_t>(words + 4 * j));
    const int16x4_t wide = vget_low_s16(vshll_n_s8(bytes, 7));
    const int16x4_t half = vand_s16(wide, vdup_n_s16(int16_t(0xbf80)));
    return (Vec)vcvt_f32_f16(vreinterpret_f16_s16(half));
  }
#else
  using Words = const uint8_t*;
  static constexpr float factor(int) { return 1; }
  static G4_INLINE Words words(const uint8_t* at) { return at; }
  static G4_INLINE Vec value(Words words, int j) {
    Vec value;
    for (int i = 0; i < lanes; i++) value[i] = e4m3(words[j * lanes + i]);
    return value;
  }
#endif
};

}  // namespace g4::G4_SET
