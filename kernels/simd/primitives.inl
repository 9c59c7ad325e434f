// The few vector operations that kernels share beyond xsimd's: tails without over-read, and sums in
// a fixed order.
#ifndef LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_
#define LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace lightcap {
namespace {

using Floats = xsimd::batch<float, Arch>;
using Integers = xsimd::as_integer_t<Floats>;
constexpr size_t kLanes = Floats::size;
// 32 vector registers instead of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif

inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

inline Floats load(const float* p) { return Floats::load_unaligned(p); }
inline void store(float* p, Floats x) { x.store_unaligned(p); }

// x * y + z, rounded once where the instruction set can. xsimd 8 leaves AVX-512 to the compiler's
// contraction, which Clang does not do.
inline Floats multiply_add(Floats x, Floats y, Floats z) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(x, y, z);
#else
  return xsimd::fma(x, y, z);
#endif
}

// x / y, rounded correctly. xsimd 8 leaves NEON to two Newton steps from an estimate, six
// instructions that round as they go.
inline Floats divide(Floats x, Floats y) {
#if defined(__aarch64__)
  return vdivq_f32(x, y);
#else
  return x / y;
#endif
}

// The same bits. xsimd's bitwise_cast is a call on NEON, where GCC doesn't inline its wrappers.
inline Integers bits_of(Floats x) { return __builtin_bit_cast(Integers, x); }
inline Floats floats_of(Integers bits) { return __builtin_bit_cast(Floats, bits); }

// sum += x * y, for unrolled loops of many sums: GCC would let them change registers there, and
// spill some. This keeps each where it is.
inline void add_product(Floats& sum, Floats x, Floats y) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256 a = x, b = y;
  __m256 in_place = sum;
  asm("vfmadd231ps %1, %2, %0" : "+x"(in_place) : "x"(b), "x"(a));
  sum = in_place;
#else
  sum = multiply_add(x, y, sum);
#endif
}

template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void clear(Floats (&sums)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = Floats(0.0f);
  }
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// From kFirstLanes + 8 - n on: a mask of the first n lanes.
alignas(64) constexpr int32_t kFirstLanes[2 * kLanes] = {-1, -1, -1, -1, -1, -1, -1, -1};
#endif

// The first `count` <= kLanes floats; the other lanes are zero. Reads nothing else.
inline Floats load_partial(const float* p, size_t count) {
  if (count == kLanes) return load(p);
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
#elif defined(__AVX2__)
  return _mm256_maskload_ps(
      p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + kLanes - count)));
#else
  alignas(64) float lanes[kLanes] = {};
  for (size_t i = 0; i < count; ++i) lanes[i] = p[i];
  return Floats::load_aligned(lanes);
#endif
}

// Writes the first `count` <= kLanes lanes and nothing else.
inline void store_partial(float* p, Floats x, size_t count) {
  if (count == kLanes) return store(p, x);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), x);
#else
  alignas(64) float lanes[kLanes];
  x.store_aligned(lanes);
  for (size_t i = 0; i < count; ++i) p[i] = lanes[i];
#endif
}

// x in the first `count` lanes, `rest` in the others.
inline Floats first_lanes_or(Floats x, size_t count, float rest) {
  if (count == kLanes) return x;
#if defined(__AVX2__) && !defined(__AVX512F__)
  return _mm256_blendv_ps(
      _mm256_set1_ps(rest), x,
      _mm256_loadu_ps(reinterpret_cast<const float*>(kFirstLanes + kLanes - count)));
#endif
  alignas(64) float lanes[kLanes];
  x.store_aligned(lanes);
  for (size_t i = count; i < kLanes; ++i) lanes[i] = rest;
  return Floats::load_aligned(lanes);
}

// Lane by lane, so that the order is the same on every instruction set of a width.
inline float sum_lanes(Floats x) {
  alignas(64) float lanes[kLanes];
  x.store_aligned(lanes);
  float sum = lanes[0];
  for (size_t i = 1; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

inline float max_lanes(Floats x) {
  alignas(64) float lanes[kLanes];
  x.store_aligned(lanes);
  float top = lanes[0];
  for (size_t i = 1; i < kLanes; ++i) top = lanes[i] > top ? lanes[i] : top;
  return top;
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_
