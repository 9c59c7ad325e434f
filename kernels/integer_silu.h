// The sigmoid of integer SiLU, as tables that every instruction set looks up alike.
//
// Everything here has internal linkage: units that are compiled with different flags include it,
// and the linker must not let one use another's copy.
#ifndef LIGHTCAP_KERNELS_INTEGER_SILU_H_
#define LIGHTCAP_KERNELS_INTEGER_SILU_H_

#include <cstddef>
#include <cstdint>

namespace lightcap::internal {
namespace {

// The sigmoid of x / 512, x a 16-bit integer, is drawn by straight pieces between multiples of 1/2,
// in units of 1 / 2^15. It is off by 0.003 at most, and SiLU by 0.006: less than a sixth of the
// step of an activation that reaches 10. From 8 on it is 1, as nearly as the units allow.
inline constexpr int kSiluFraction = 9;  // x has so many bits behind the point
inline constexpr size_t kSigmoidPieces = 16;

// round(2^15 sigmoid(i / 2)), with 32767 for the limit, so that a piece's rise is the difference of
// its ends.
inline constexpr int16_t kSigmoidAt[kSigmoidPieces + 1] = {16384, 20397, 23955, 26790, 28862, 30282,
                                                           31214, 31807, 32179, 32408, 32549, 32635,
                                                           32687, 32719, 32738, 32750, 32767};
inline constexpr int16_t kSigmoidRise[kSigmoidPieces] = {
    4013, 3558, 2835, 2072, 1420, 932, 593, 372, 229, 141, 86, 52, 32, 19, 12, 17};

// floor((x y + 2^14) / 2^15), as SSSE3's pmulhrsw and NEON's sqrdmulh compute it; x and y must not
// both be -32768.
constexpr int16_t multiply_high_rounded(int16_t x, int16_t y) {
  return static_cast<int16_t>((int32_t{x} * int32_t{y} + (1 << 14)) >> 15);
}

constexpr int16_t integer_sigmoid(int16_t x) {
  const int32_t magnitude = x < 0 ? -int32_t{x} : int32_t{x};
  const int32_t piece = magnitude >> 8, place = magnitude & 255;
  int32_t y = 32767;
  if (piece < int32_t{kSigmoidPieces}) {
    y = kSigmoidAt[piece] +
        multiply_high_rounded(kSigmoidRise[piece], static_cast<int16_t>(place << 7));
  }
  return static_cast<int16_t>(x < 0 ? 32767 - y : y);
}

// A piece's beginning for an instruction set that does not take the place in it apart: with the low
// byte of a magnitude as (magnitude << 7), a signed number of 16 bits, an odd piece's number counts
// as -1 there, and its rise was taken away once too often.
struct ShiftedBegins {
  int16_t at[kSigmoidPieces] = {};
  constexpr ShiftedBegins() {
    for (size_t i = 0; i < kSigmoidPieces; ++i)
      at[i] = static_cast<int16_t>(kSigmoidAt[i] + (i % 2 == 0 ? 0 : kSigmoidRise[i]));
  }
};
inline constexpr ShiftedBegins kShiftedBegins;

// SiLU of x / 512 in the same units.
constexpr int16_t integer_silu(int16_t x) { return multiply_high_rounded(x, integer_sigmoid(x)); }

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_INTEGER_SILU_H_
