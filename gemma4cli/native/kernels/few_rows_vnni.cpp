// Few rows of input times packed numbers of 4 bits, with products of whole numbers (AVX-512 VNNI).
//
// The input is written as whole numbers of 24 bits times a common factor, and these as three signed
// bytes each, so that one instruction multiplies 64 of them with packed numbers. The sums are exact,
// and the input is rounded by less than its largest number's last bit in float32. That is half of
// the work that unpacking the weights to float32 takes.
#include <immintrin.h>

#include "few_rows.h"
#include "kernels.h"

namespace g4 {
namespace avx512 { extern const Kernels table; }

namespace vnni {
namespace {

struct ByteInput {
  using Format = IntegerWords<4>;
  static constexpr int64_t block = Format::vectors * lanes;
  static constexpr int digits = 3;
  static constexpr int64_t bytes = 64;  // of a vector
  /// For each digit, from the highest on, those of even positions and those of odd ones.
  static constexpr int64_t block_floats = digits * block / 4;

  /// Two streams of weights are read faster than one, and the arithmetic keeps up.
  static constexpr int rows(int) { return 2; }

  /// Three digits from -128 to 127 give a little more than this.
  static constexpr float most = 8355000;

  static float factor_of(const float* x, int64_t columns) {
    Vec top = {}, invalid = {};
    for (int64_t k = 0; k < columns; k += lanes) {
      const Vec numbers = load_some<Vec>((const uint8_t*)(x + k), columns - k);
      top = max(top, max(numbers, -numbers));
      invalid += numbers * 0.0f;  // NaN where a number is infinite or NaN
    }
    // Below the limit the factor would be subnormal.
    const float largest_of_all = largest(top);
    return (largest_of_all > 0x1p-100f ? largest_of_all : 0x1p-100f) / most + sum(invalid);
  }

  static void lay_out(const float* x, float factor, float* out) {
    const __m512 scale = _mm512_set1_ps(1 / factor);
    alignas(64) int8_t in_order[digits][block];
    for (int64_t k = 0; k < block; k += lanes) {
      __m512i rest = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + k), scale));
      for (int d = digits - 1; d >= 0; d--) {
        const __m512i digit = _mm512_srai_epi32(_mm512_slli_epi32(rest, 24), 24);
        _mm_store_si128((__m128i*)(in_order[d] + k), _mm512_cvtepi32_epi8(digit));
        rest = _mm512_srai_epi32(_mm512_sub_epi32(rest, digit), 8);
      }
    }
    uint8_t* to = (uint8_t*)out;
    for (int d = 0; d < digits; d++, to += block) {
      for (int64_t half = 0; half < 2; half++) {
        const __m512i pairs = _mm512_load_si512(in_order[d] + half * bytes);
        const __m256i even = _mm512_cvtepi16_epi8(pairs);
        const __m256i odd = _mm512_cvtepi16_epi8(_mm512_srli_epi16(pairs, 8));
        std::memcpy(to + half * bytes / 2, &even, sizeof even);
        std::memcpy(to + bytes + half * bytes / 2, &odd, sizeof odd);
      }
    }
  }

  template <int rows, int count>
  static G4_INLINE void multiply(
      const typename Format::Words* words, const float* const* x, Vec (*part)[count]) {
    const __m512i low = _mm512_set1_epi8(15);
    for (int r = 0; r < rows; r++) {
      const __m512i packed = (__m512i)words[r];
      const __m512i even = _mm512_and_si512(packed, low);
      const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
      for (int i = 0; i < count; i++) {
        const uint8_t* digit = (const uint8_t*)x[i];
        // At most 8 * 15 * 128 by lane and digit: all three together fit in 32 bits.
        __m512i total = _mm512_setzero_si512();
        for (int d = 0; d < digits; d++, digit += block) {
          total = _mm512_slli_epi32(total, 8);
          total = _mm512_dpbusd_epi32(total, even, _mm512_loadu_si512(digit));
          total = _mm512_dpbusd_epi32(total, odd, _mm512_loadu_si512(digit + bytes));
        }
        part[r][i] = (Vec)_mm512_cvtepi32_ps(total);
      }
    }
  }
};

using Rows = PackedRows<ByteInput>;

bool here(const Weight& weight) { return weight.kind == Kind::affine && weight.bits == 4; }

int64_t prepared_size_of(const Weight& weight) {
  return here(weight) ? round_up(Rows::prepared_size(weight), 16)
                      : avx512::table.few_rows.prepared_size(weight);
}

void prepare_for(const Weight& weight, const float* x, float* out) {
  (here(weight) ? Rows::prepare : avx512::table.few_rows.prepare)(weight, x, out);
}

void few_rows_of(
    const Weight& weight, const float* const* x, int64_t count, float* const* y, int64_t first,
    int64_t last) {
  (here(weight) ? few_rows_with<Rows> : avx512::table.few_rows.multiply)(weight, x, count, y, first, last);
}

}  // namespace

extern const FewRows table;
const FewRows table = {prepared_size_of, prepare_for, few_rows_of};

}  // namespace vnni
}  // namespace g4
