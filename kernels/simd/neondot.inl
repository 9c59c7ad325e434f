// Vector primitives of NEON with dot products. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_NEONDOT_INL_
#define LIGHTCAP_KERNELS_SIMD_NEONDOT_INL_

#include "kernels/simd/neon.inl"

namespace lightcap::internal {
namespace {
namespace neondot {

struct Primitives : neon::Primitives {
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    sum = vdotq_s32(sum, vreinterpretq_s8_s32(row), vreinterpretq_s8_s32(weights));
  }
  // One exclusive-or for four quads: for one it would take the place of a dot product.
  static constexpr size_t kQuadsOfRows = 4;
  static Integers load_quads(const Quad* p) {
    return vreinterpretq_s32_u8(veorq_u8(vld1q_u8(p->bytes), vdupq_n_u8(128)));
  }
  template <size_t kQuadOfRow>
  static void add_dots_of(Integers& sum, Integers quads, Integers weights) {
    sum = vdotq_laneq_s32(sum, vreinterpretq_s8_s32(weights), vreinterpretq_s8_s32(quads),
                          kQuadOfRow);
  }
};

}  // namespace neondot
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEONDOT_INL_
