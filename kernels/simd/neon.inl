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

  static void widen(Floats x, Doubles (&y)[2]) {
    y[0] = vcvt_f64_f32(vget_low_f32(x));
    y[1] = vcvt_high_f64_f32(x);
  }
  static void store_narrow(float* p, const Doubles (&x)[2]) {
    vst1q_f32(p, vcvt_high_f32_f64(vcvt_f32_f64(x[0]), x[1]));
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
  static void add_pairs(Integers& sum, Integers row, Integers weights) {
    const int16x8_t x = vreinterpretq_s16_s32(row), y = vreinterpretq_s16_s32(weights);
    const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
    sum = vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(x, y)));
  }

  using Shorts = int16x8_t;
  using Bytes = uint8x16_t;
  static Shorts pack(Integers x, Integers y) { return vqmovn_high_s32(vqmovn_s32(x), y); }
  static Bytes pack(Shorts x, Shorts y) { return vqmovun_high_s16(vqmovun_s16(x), y); }
  static void unpack(Bytes bytes, Shorts& x, Shorts& y) {
    x = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
    y = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
  }
  static void split(Shorts x, Shorts y, Bytes& high, Bytes& low) {
    const uint8x16_t first = vreinterpretq_u8_s16(x), second = vreinterpretq_u8_s16(y);
    low = vuzp1q_u8(first, second);
    high = veorq_u8(vuzp2q_u8(first, second), vdupq_n_u8(128));
  }
  static Shorts shorts(int16_t x) { return vdupq_n_s16(x); }
  static Shorts add(Shorts x, Shorts y) { return vqaddq_s16(x, y); }
  static Shorts max(Shorts x, Shorts y) { return vmaxq_s16(x, y); }
  static Shorts silu(Shorts x, Shorts factor) {
    // Magnitudes beyond the last piece are as good as its end.
    const uint16x8_t magnitude = vminq_u16(vreinterpretq_u16_s16(vabsq_s16(x)), vdupq_n_u16(4095));
    // The places of a piece's two bytes: twice its number, and one more.
    const uint8x16_t places = vreinterpretq_u8_u16(
        vmlaq_u16(vdupq_n_u16(0x0100), vshrq_n_u16(magnitude, 8), vdupq_n_u16(0x0202)));
    const auto look_up = [&](const int16_t* table) {
      const uint8x16x2_t bytes = {vreinterpretq_u8_s16(vld1q_s16(table)),
                                  vreinterpretq_u8_s16(vld1q_s16(table + 8))};
      return vreinterpretq_s16_u8(vqtbl2q_u8(bytes, places));
    };
    const int16x8_t place = vreinterpretq_s16_u16(vshlq_n_u16(magnitude, 7));
    const int16x8_t upper =
        vaddq_s16(look_up(kShiftedBegins.at), vqrdmulhq_s16(look_up(kSigmoidRise), place));
    // 32767 less that for negative numbers, which is to turn its 15 bits.
    const uint16x8_t turned = vshrq_n_u16(vreinterpretq_u16_s16(vshrq_n_s16(x, 15)), 1);
    const int16x8_t sigmoid =
        vreinterpretq_s16_u16(veorq_u16(vreinterpretq_u16_s16(upper), turned));
    return vqrdmulhq_s16(vqrdmulhq_s16(x, sigmoid), factor);
  }
  static Integers load_bytes(const uint8_t* p) {
    uint32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const uint16x8_t wide = vmovl_u8(vcreate_u8(four));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
  }
  template <size_t kRows>
  static Bytes load_rows(const uint8_t* p, size_t, size_t) {
    return vld1q_u8(p);
  }
  template <size_t kRows>
  static void store_rows(Bytes bytes, uint8_t* p, size_t, size_t) {
    vst1q_u8(p, bytes);
  }
};

}  // namespace neon
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NEON_INL_
