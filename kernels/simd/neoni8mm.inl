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

  static constexpr bool kMultipliesBlocks = true;
  template <size_t kQuads>
  static Integers load_block(const Quad* first, const Quad* second) {
    uint64_t rows[2] = {};
    __builtin_memcpy(&rows[0], first, kQuads * sizeof *first);
    __builtin_memcpy(&rows[1], second, kQuads * sizeof *second);
    return vreinterpretq_s32_u64(vcombine_u64(vcreate_u64(rows[0]), vcreate_u64(rows[1])));
  }
  static void exchange_halves(Integers& x, Integers& y) {
    const int64x2_t first = vreinterpretq_s64_s32(x), second = vreinterpretq_s64_s32(y);
    x = vreinterpretq_s32_s64(vzip1q_s64(first, second));
    y = vreinterpretq_s32_s64(vzip2q_s64(first, second));
  }
  static void interleave(Integers& x, Integers& y) {
    const int32x4_t first = x, second = y;
    x = vzip1q_s32(first, second);
    y = vzip2q_s32(first, second);
  }
  static void add_blocks(Integers& sum, Integers rows, Integers weights) {
    int32x4_t in_place = sum;
    asm("usmmla %0.4s, %1.16b, %2.16b"
        : "+w"(in_place)
        : "w"(static_cast<int32x4_t>(rows)), "w"(static_cast<int32x4_t>(weights)));
    sum = in_place;
  }
};

}  // namespace neoni8mm
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEONI8MM_INL_
