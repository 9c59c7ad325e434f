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

  static Integers to_integers(Floats x) { return _mm512_cvtps_epi32(x); }
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const __m512i pairs = _mm512_maddubs_epi16(row, weights);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
};

}  // namespace avx512
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVX512_INL_
