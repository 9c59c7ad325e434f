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

#if defined(__x86_64__)

template <class Vector>
struct Avx2Native : PlainNative<Vector> {
  // The compiler would let many sums change registers, and spill some; this keeps each where it is.
  static void add_product(Vector& sum, Vector x, Vector y) {
    const __m256 a = x, b = y;
    __m256 in_place = sum;
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
};

using Native =
    std::conditional_t<std::is_base_of<xsimd::avx512f, Arch>::value,
                       Avx512Native<xsimd::batch<float, Arch>>,
                       std::conditional_t<std::is_base_of<xsimd::fma3<xsimd::avx2>, Arch>::value,
                                          Avx2Native<xsimd::batch<float, Arch>>,
                                          PlainNative<xsimd::batch<float, Arch>>>>;

#elif defined(__aarch64__)

template <class Vector>
struct NeonNative : PlainNative<Vector> {
  static constexpr bool kManyRegisters = true;

  // xsimd 8 makes two Newton steps from an estimate, six instructions that round as they go.
  static Vector divide(Vector x, Vector y) { return vdivq_f32(x, y); }
};

using Native = NeonNative<xsimd::batch<float, Arch>>;

#endif

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_NATIVE_INL_
