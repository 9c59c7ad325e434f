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

  static void widen(Floats x, Doubles (&y)[2]) {
    y[0] = _mm_cvtps_pd(x);
    y[1] = _mm_cvtps_pd(_mm_movehl_ps(x, x));
  }
  static void store_narrow(float* p, const Doubles (&x)[2]) {
    _mm_store_ps(p, _mm_movelh_ps(_mm_cvtpd_ps(x[0]), _mm_cvtpd_ps(x[1])));
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
  static constexpr bool kPrefersIntegerWinograd = true;
  static void add_pairs(Integers& sum, Integers row, Integers weights) {
    sum = _mm_add_epi32(sum, _mm_madd_epi16(row, weights));
  }

  using Shorts = __m128i;
  using Bytes = __m128i;
  static Shorts pack(Integers x, Integers y) { return _mm_packs_epi32(x, y); }
  static Bytes pack(Shorts x, Shorts y) { return _mm_packus_epi16(x, y); }
  static void unpack(Bytes bytes, Shorts& x, Shorts& y) {
    x = _mm_unpacklo_epi8(bytes, _mm_setzero_si128());
    y = _mm_unpackhi_epi8(bytes, _mm_setzero_si128());
  }
  static void split(Shorts x, Shorts y, Bytes& high, Bytes& low) {
    const __m128i low_bytes = _mm_set1_epi16(255), sign = _mm_set1_epi16(-32768);
    low = pack(_mm_and_si128(x, low_bytes), _mm_and_si128(y, low_bytes));
    high =
        pack(_mm_srli_epi16(_mm_xor_si128(x, sign), 8), _mm_srli_epi16(_mm_xor_si128(y, sign), 8));
  }
  static Shorts shorts(int16_t x) { return _mm_set1_epi16(x); }
  static Shorts add(Shorts x, Shorts y) { return _mm_adds_epi16(x, y); }
  static Shorts max(Shorts x, Shorts y) { return _mm_max_epi16(x, y); }
  static Shorts silu(Shorts x, Shorts factor) { return plain_silu(x, factor); }
  static Integers load_bytes(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const __m128i zero = _mm_setzero_si128();
    return _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
  }
  template <size_t kRows>
  static Bytes load_rows(const uint8_t* p, size_t, size_t) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  template <size_t kRows>
  static void store_rows(Bytes bytes, uint8_t* p, size_t, size_t) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
};

}  // namespace sse2
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_SSE2_INL_
