// Vector primitives of NEON, the baseline of 64-bit ARM. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_NEON_INL_
#define LIGHTCAP_KERNELS_SIMD_NEON_INL_

#include <arm_neon.h>

#include "kernels/simd/plain.inl"

namespace lightcap::internal {
namespace {
namespace neon {

struct Primitives : plain::Primitives {
  static constexpr TileShape kTile = {.mr = 6, .nr_panels = 1, .unroll = 1};
  static constexpr size_t kRegisters = 32;

  // xsimd 8 makes two Newton steps from an estimate, six instructions that round as they go.
  static Floats divide(Floats x, Floats y) { return vdivq_f32(x, y); }
  static Floats min(Floats x, Floats y) { return vminq_f32(x, y); }
  static Floats max(Floats x, Floats y) { return vmaxq_f32(x, y); }
  static Floats load_half(const uint16_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
  }
  static Floats load_bfloat(const uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }

  static Integers to_integers(Floats x) { return vcvtnq_s32_f32(x); }
  // NEON multiplies bytes of one signedness only: those of a row are taken less 128.
  static constexpr int32_t kByteOffset = 128;
  static Integers broadcast(Quad row) {
    return vdupq_n_s32(static_cast<int32_t>(__builtin_bit_cast(uint32_t, row) ^ 0x80808080u));
  }
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const int8x16_t x = vreinterpretq_s8_s32(row), y = vreinterpretq_s8_s32(weights);
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(y));
    const int16x8_t high = vmull_high_s8(x, y);
    sum = vpadalq_s16(sum, vpaddq_s16(low, high));
  }
};

}  // namespace neon
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEON_INL_
