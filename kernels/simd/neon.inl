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
};

}  // namespace neon
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEON_INL_
