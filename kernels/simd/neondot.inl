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
};

}  // namespace neondot
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEONDOT_INL_
