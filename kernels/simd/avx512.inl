// Vector primitives of AVX-512. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVX512_INL_
#define LIGHTCAP_KERNELS_SIMD_AVX512_INL_

#include <immintrin.h>

#include "kernels/simd/plain.inl"

namespace lightcap::internal {
namespace {
namespace avx512 {

struct Primitives : plain::Primitives {
  static constexpr TileShape kTile = {.mr = 12, .nr_panels = 2, .unroll = 1};
  static constexpr size_t kRegisters = 32;

  // xsimd 8 leaves this to the compiler's contraction, which Clang does not do.
  static Floats multiply_add(Floats x, Floats y, Floats z) { return _mm512_fmadd_ps(x, y, z); }
  static void add_product(Floats& sum, Floats x, Floats y) { sum = multiply_add(x, y, sum); }
  static __mmask16 first_lanes(size_t count) { return static_cast<__mmask16>((1u << count) - 1); }
  static Floats load_partial(const float* p, size_t count) {
    return _mm512_maskz_loadu_ps(first_lanes(count), p);
  }
  static void store_partial(float* p, Floats x, size_t count) {
    _mm512_mask_storeu_ps(p, first_lanes(count), x);
  }
  static Floats min(Floats x, Floats y) { return _mm512_min_ps(x, y); }
  static Floats max(Floats x, Floats y) { return _mm512_max_ps(x, y); }
  static Floats load_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Floats load_bfloat(const uint16_t* p) {
    const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }

  static void widen(Floats x, Doubles (&y)[2]) {
    y[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    y[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  }
  static void store_narrow(float* p, const Doubles (&x)[2]) {
    _mm256_store_ps(p, _mm512_cvtpd_ps(x[0]));
    _mm256_store_ps(p + 8, _mm512_cvtpd_ps(x[1]));
  }

  static Integers to_integers(Floats x) { return _mm512_cvtps_epi32(x); }
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const __m512i pairs = _mm512_maddubs_epi16(row, weights);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  static constexpr bool kPrefersIntegerWinograd = true;
  static void add_pairs(Integers& sum, Integers row, Integers weights) {
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(row, weights));
  }

  using Shorts = __m512i;
  using Bytes = __m512i;
  // Packs work on each 128 bits by themselves: 4 lanes of x and 4 of y follow each other there. As
  // 4 x 4 words of 32 bits, the order of four vectors' bytes is the other's transpose.
  static __m512i transpose(__m512i x) {
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
  }
  static Shorts pack(Integers x, Integers y) { return _mm512_packs_epi32(x, y); }
  static Bytes pack(Shorts x, Shorts y) { return transpose(_mm512_packus_epi16(x, y)); }
  static void unpack(Bytes bytes, Shorts& x, Shorts& y) {
    const __m512i transposed = transpose(bytes);
    x = _mm512_unpacklo_epi8(transposed, _mm512_setzero_si512());
    y = _mm512_unpackhi_epi8(transposed, _mm512_setzero_si512());
  }
  static void split(Shorts x, Shorts y, Bytes& high, Bytes& low) {
    const __m512i low_bytes = _mm512_set1_epi16(255), sign = _mm512_set1_epi16(-32768);
    low = pack(_mm512_and_si512(x, low_bytes), _mm512_and_si512(y, low_bytes));
    high = pack(_mm512_srli_epi16(_mm512_xor_si512(x, sign), 8),
                _mm512_srli_epi16(_mm512_xor_si512(y, sign), 8));
  }
  static Shorts shorts(int16_t x) { return _mm512_set1_epi16(x); }
  static Shorts add(Shorts x, Shorts y) { return _mm512_adds_epi16(x, y); }
  static Shorts max(Shorts x, Shorts y) { return _mm512_max_epi16(x, y); }
  static Shorts silu(Shorts x, Shorts factor) {
    // Magnitudes beyond the last piece are as good as its end.
    const __m512i magnitude = _mm512_min_epu16(_mm512_abs_epi16(x), _mm512_set1_epi16(4095));
    const __m512i piece = _mm512_srli_epi16(magnitude, 8);
    const __m512i place = _mm512_slli_epi16(magnitude, 7);
    const __m512i begin = _mm512_permutexvar_epi16(piece, table(kShiftedBegins.at));
    const __m512i rise = _mm512_permutexvar_epi16(piece, table(kSigmoidRise));
    const __m512i upper = _mm512_add_epi16(begin, _mm512_mulhrs_epi16(rise, place));
    // 32767 less that for negative numbers, which is to turn its 15 bits: upper ^ (sign & 0x7fff).
    const __m512i sigmoid =
        _mm512_ternarylogic_epi32(upper, _mm512_srai_epi16(x, 15), _mm512_set1_epi16(0x7fff), 0x78);
    return _mm512_mulhrs_epi16(_mm512_mulhrs_epi16(x, sigmoid), factor);
  }
  static __m512i table(const int16_t* pieces) {
    return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(pieces)));
  }
  static Integers load_bytes(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <size_t kRows>
  [[gnu::always_inline]] static Bytes load_rows(const uint8_t* p, size_t stride, size_t count) {
    const auto row = [&](size_t i) { return p + (i < count ? i : 0) * stride; };
    if constexpr (kRows == 1) return _mm512_loadu_si512(p);
    if constexpr (kRows == 2)
      return _mm512_inserti64x4(
          _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row(0)))),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row(1))), 1);
    const auto at = [&](size_t i) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row(i)));
    };
    __m512i bytes = _mm512_castsi128_si512(at(0));
    bytes = _mm512_inserti32x4(bytes, at(1), 1);
    bytes = _mm512_inserti32x4(bytes, at(2), 2);
    return _mm512_inserti32x4(bytes, at(3), 3);
  }
  template <size_t kRows>
  [[gnu::always_inline]] static void store_rows(Bytes bytes, uint8_t* p, size_t stride,
                                                size_t count) {
    if constexpr (kRows == 1) return _mm512_storeu_si512(p, bytes);
    if constexpr (kRows == 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(bytes));
      if (count > 1)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + stride),
                            _mm512_extracti64x4_epi64(bytes, 1));
      return;
    }
    const auto to = [&](size_t i) { return reinterpret_cast<__m128i*>(p + i * stride); };
    _mm_storeu_si128(to(0), _mm512_castsi512_si128(bytes));
    if (count > 1) _mm_storeu_si128(to(1), _mm512_extracti32x4_epi32(bytes, 1));
    if (count > 2) _mm_storeu_si128(to(2), _mm512_extracti32x4_epi32(bytes, 2));
    if (count > 3) _mm_storeu_si128(to(3), _mm512_extracti32x4_epi32(bytes, 3));
  }
};

}  // namespace avx512
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVX512_INL_
