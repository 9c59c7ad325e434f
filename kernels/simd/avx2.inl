// Vector primitives of AVX2 with FMA and F16C. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVX2_INL_
#define LIGHTCAP_KERNELS_SIMD_AVX2_INL_

#include <immintrin.h>

#include "kernels/simd/plain.inl"

namespace lightcap::internal {
namespace {
namespace avx2 {

// From kFirstLanes + 8 - n on: a mask of the first n lanes.
alignas(64) constexpr int32_t kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

struct Primitives : plain::Primitives {
  // A step of 6 x 16 is 12 multiply-adds and 8 loads, for which the FMA units need 6 cycles.
  // Counting and prefetching at each step would be a fifth more instructions, and a core that two
  // hardware threads share decodes for each in every second cycle only: without unrolling, the
  // encoder's products took 1.1 x as long there.
  static constexpr TileShape kTile = {.mr = 6, .nr_panels = 1, .unroll = 4};

  // The compiler would let many sums change registers, and spill some; this keeps each where it is.
  static void add_product(Floats& sum, Floats x, Floats y) {
    const __m256 a = x, b = y;
    __m256 in_place = sum;
    asm("vfmadd231ps %1, %2, %0" : "+x"(in_place) : "x"(b), "x"(a));
    sum = in_place;
  }
  static Floats load_partial(const float* p, size_t count) {
    return _mm256_maskload_ps(
        p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + 8 - count)));
  }
  static Floats first_lanes_or(Floats x, size_t count, float rest) {
    return _mm256_blendv_ps(
        _mm256_set1_ps(rest), x,
        _mm256_loadu_ps(reinterpret_cast<const float*>(kFirstLanes + 8 - count)));
  }
  static Floats min(Floats x, Floats y) { return _mm256_min_ps(x, y); }
  static Floats max(Floats x, Floats y) { return _mm256_max_ps(x, y); }
  static Floats load_half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Floats load_bfloat(const uint16_t* p) {
    const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  static Integers to_integers(Floats x) { return _mm256_cvtps_epi32(x); }
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const __m256i pairs = _mm256_maddubs_epi16(row, weights);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace avx2
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVX2_INL_
