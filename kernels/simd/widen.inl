// Weights of every stored type as vectors of floats, widened in registers. Widening is exact, so a
// product with narrow weights is, bit for bit, the product with the same weights stored as fp32.
#ifndef LIGHTCAP_KERNELS_SIMD_WIDEN_INL_
#define LIGHTCAP_KERNELS_SIMD_WIDEN_INL_

#include "kernels/packed_matrix.h"
#include "kernels/simd/primitives.inl"

namespace lightcap {
namespace {

// IEEE binary16 and bfloat16, as distinct types so that panels know what they hold.
struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};

// kLanes weights from an address aligned to their own size.
inline Floats load_weights(const float* p) { return Floats::load_aligned(p); }

#if defined(__AVX512F__)
inline Floats load_weights(const Half* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats load_weights(const Bfloat* p) {
  const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
#elif defined(__AVX2__)
inline Floats load_weights(const Half* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Floats load_weights(const Bfloat* p) {
  const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
#elif defined(__aarch64__)
inline Floats load_weights(const Half* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits)));
}
inline Floats load_weights(const Bfloat* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p->bits), 16));
}
#else
// SSE2 has no conversion of halves. The bits of normal numbers are moved into place; subnormals,
// which would take a microcode assist as operands, are converted as integers instead.
inline Floats load_weights(const Half* p) {
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
inline Floats load_weights(const Bfloat* p) {
  const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), halves));
}
#endif

// Calls f(panels) with the matrix's panels as a pointer to elements of the stored type.
template <class F>
[[gnu::always_inline]] inline void with_panels(const PackedMatrix& weights, const F& f) {
  switch (weights.type) {
    case DataType::kF32:
      return f(static_cast<const float*>(weights.data));
    case DataType::kF16:
      return f(static_cast<const Half*>(weights.data));
    case DataType::kBf16:
      return f(static_cast<const Bfloat*>(weights.data));
  }
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_WIDEN_INL_
