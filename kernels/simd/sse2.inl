// Vector primitives of SSE2, the baseline of 64-bit x86. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_SSE2_INL_
#define LIGHTCAP_KERNELS_SIMD_SSE2_INL_

#include <immintrin.h>

#include "kernels/simd/plain.inl"

namespace lightcap::internal {
namespace {
namespace sse2 {

struct Primitives : plain::Primitives {
  static constexpr TileShape kTile = {.mr = 3, .nr_panels = 1, .unroll = 1};
  static constexpr bool kIsFused = false;

  static Floats min(Floats x, Floats y) { return _mm_min_ps(x, y); }
  static Floats max(Floats x, Floats y) { return _mm_max_ps(x, y); }

  // SSE2 has no conversion of halves. The bits of normal numbers are moved into place; subnormals,
  // which would take a microcode assist as operands, are converted as integers instead.
  static Floats load_half(const uint16_t* p) {
    const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i bits = _mm_unpacklo_epi16(halves, _mm_setzero_si128());
    const __m128i magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fff));
    const __m128i sign = _mm_slli_epi32(_mm_xor_si128(bits, magnitude), 16);
    const __m128i rebias = _mm_set1_epi32((127 - 15) << 23);
    const __m128i special =  // infinities and NaN have the highest exponent in both formats
        _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff)), rebias);
    const __m128i normal =
        _mm_add_epi32(_mm_add_epi32(_mm_slli_epi32(magnitude, 13), rebias), special);
    const __m128i subnormal =
        _mm_castps_si128(_mm_mul_ps(_mm_cvtepi32_ps(magnitude), _mm_set1_ps(0x1p-24f)));
    const __m128i is_normal = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x3ff));
    const __m128i chosen =
        _mm_or_si128(_mm_and_si128(is_normal, normal), _mm_andnot_si128(is_normal, subnormal));
    return _mm_castsi128_ps(_mm_or_si128(chosen, sign));
  }
  static Floats load_bfloat(const uint16_t* p) {
    const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), halves));
  }

  static Integers to_integers(Floats x) { return _mm_cvtps_epi32(x); }
  // SSE2 multiplies 16-bit numbers only: the bytes of even and of odd places are widened in place.
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const __m128i even = _mm_and_si128(row, _mm_set1_epi16(255));
    const __m128i odd = _mm_srli_epi16(row, 8);
    const __m128i even_weights = _mm_srai_epi16(_mm_slli_epi16(weights, 8), 8);
    const __m128i odd_weights = _mm_srai_epi16(weights, 8);
    sum = _mm_add_epi32(
        sum, _mm_add_epi32(_mm_madd_epi16(even, even_weights), _mm_madd_epi16(odd, odd_weights)));
  }
};

}  // namespace sse2
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_SSE2_INL_
