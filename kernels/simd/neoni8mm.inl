// Vector primitives of NEON with products of unsigned by signed bytes. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_NEONI8MM_INL_
#define LIGHTCAP_KERNELS_SIMD_NEONI8MM_INL_

#include "kernels/simd/neondot.inl"

namespace lightcap::internal {
namespace {
namespace neoni8mm {

struct Primitives : neondot::Primitives {
  static constexpr int32_t kByteOffset = 0;
  static Integers broadcast(Quad row) { return plain::Primitives::broadcast(row); }
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    sum = vusdotq_s32(sum, vreinterpretq_u8_s32(row), vreinterpretq_s8_s32(weights));
  }
  static Integers load_quads(const Quad* p) { return vreinterpretq_s32_u8(vld1q_u8(p->bytes)); }
  template <size_t kQuadOfRow>
  static void add_dots_of(Integers& sum, Integers quads, Integers weights) {
    sum = vsudotq_laneq_s32(sum, vreinterpretq_s8_s32(weights), vreinterpretq_u8_s32(quads),
                            kQuadOfRow);
  }
};

}  // namespace neoni8mm
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEONI8MM_INL_
