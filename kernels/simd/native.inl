// The few operations that xsimd lacks or is slow at, in an architecture's own instructions.
// `Native` is the most special set that the row's architecture has. It is chosen by Arch and not by
// the compiler's macros: those say what the flags allow, and a host may have raised them for all of
// its code. The sets are templates, so that a unit compiles no other than its own.
#ifndef LIGHTCAP_KERNELS_SIMD_NATIVE_INL_
#define LIGHTCAP_KERNELS_SIMD_NATIVE_INL_

#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace lightcap {
namespace {

// What every architecture can do. primitives.inl has the contracts; counts are below Vector::size.
template <class Vector>
struct PlainNative {
  static constexpr size_t kLanes = Vector::size;
  static constexpr bool kManyRegisters = false;  // 32 vector registers instead of 16

  static Vector multiply_add(Vector x, Vector y, Vector z) { return xsimd::fma(x, y, z); }
  static Vector divide(Vector x, Vector y) { return x / y; }
  static void add_product(Vector& sum, Vector x, Vector y) { sum = xsimd::fma(x, y, sum); }

  static Vector load_partial(const float* p, size_t count) {
    alignas(64) float lanes[kLanes] = {};
    for (size_t i = 0; i < count; ++i) lanes[i] = p[i];
    return Vector::load_aligned(lanes);
  }
  static void store_partial(float* p, Vector x, size_t count) {
    alignas(64) float lanes[kLanes];
    x.store_aligned(lanes);
    for (size_t i = 0; i < count; ++i) p[i] = lanes[i];
  }
  static Vector first_lanes_or(Vector x, size_t count, float rest) {
    alignas(64) float lanes[kLanes];
    x.store_aligned(lanes);
    for (size_t i = count; i < kLanes; ++i) lanes[i] = rest;
    return Vector::load_aligned(lanes);
  }
};

// load_half and load_bfloat: Vector::size IEEE halves or bfloat16 as floats, from an address
// aligned to their size together.

#if defined(__x86_64__)

template <class Vector>
struct Sse2Native : PlainNative<Vector> {
  // SSE2 has no conversion of halves. The bits of normal numbers are moved into place; subnormals,
  // which would take a microcode assist as operands, are converted as integers instead.
  static Vector load_half(const uint16_t* p) {
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
  static Vector load_bfloat(const uint16_t* p) {
    const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), halves));
  }
};

template <class Vector>
struct Avx2Native : PlainNative<Vector> {
  // The compiler would let many sums change registers, and spill some; this keeps each where it is.
  static void add_product(Vector& sum, Vector x, Vector y) {
    // Not __m256: Clang would check the constraint in rows that have no such registers.
    const typename Vector::register_type a = x, b = y;
    typename Vector::register_type in_place = sum;
    asm("vfmadd231ps %1, %2, %0" : "+x"(in_place) : "x"(b), "x"(a));
    sum = in_place;
  }
  static Vector load_partial(const float* p, size_t count) {
    return _mm256_maskload_ps(
        p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + 8 - count)));
  }
  static Vector first_lanes_or(Vector x, size_t count, float rest) {
    return _mm256_blendv_ps(
        _mm256_set1_ps(rest), x,
        _mm256_loadu_ps(reinterpret_cast<const float*>(kFirstLanes + 8 - count)));
  }
  static Vector load_half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Vector load_bfloat(const uint16_t* p) {
    const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  // From kFirstLanes + 8 - n on: a mask of the first n lanes.
  alignas(64) static constexpr int32_t kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
};

template <class Vector>
struct Avx512Native : PlainNative<Vector> {
  static constexpr bool kManyRegisters = true;

  // xsimd 8 leaves this to the compiler's contraction, which Clang does not do.
  static Vector multiply_add(Vector x, Vector y, Vector z) { return _mm512_fmadd_ps(x, y, z); }
  static void add_product(Vector& sum, Vector x, Vector y) { sum = multiply_add(x, y, sum); }
  static Vector load_partial(const float* p, size_t count) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
  }
  static void store_partial(float* p, Vector x, size_t count) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), x);
  }
  static Vector load_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vector load_bfloat(const uint16_t* p) {
    const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
};

using Native =
    std::conditional_t<std::is_base_of<xsimd::avx512f, Arch>::value,
                       Avx512Native<xsimd::batch<float, Arch>>,
                       std::conditional_t<std::is_base_of<xsimd::fma3<xsimd::avx2>, Arch>::value,
                                          Avx2Native<xsimd::batch<float, Arch>>,
                                          Sse2Native<xsimd::batch<float, Arch>>>>;

#elif defined(__aarch64__)

template <class Vector>
struct NeonNative : PlainNative<Vector> {
  static constexpr bool kManyRegisters = true;

  // xsimd 8 makes two Newton steps from an estimate, six instructions that round as they go.
  static Vector divide(Vector x, Vector y) { return vdivq_f32(x, y); }
  static Vector load_half(const uint16_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
  }
  static Vector load_bfloat(const uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }
};

using Native = NeonNative<xsimd::batch<float, Arch>>;

#endif

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_NATIVE_INL_
