// The roundings of integer arithmetic, which the reference kernels share. A sum or product of two
// floats in double, rounded to float, is the float operation's result: a double holds products
// exactly, and sums with enough digits that rounding twice is rounding once. Written so, no
// compiler can fuse two operations into one.
#ifndef LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_
#define LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace lightcap::internal::reference {

// One rounding of fp32.
inline float rounded(double x) { return static_cast<float>(x); }
inline float sum(float x, float y) {
  return rounded(static_cast<double>(x) + static_cast<double>(y));
}
inline float product(float x, float y) {
  return rounded(static_cast<double>(x) * static_cast<double>(y));
}

inline int64_t nearest(float x) { return std::llrint(static_cast<double>(x)); }
inline uint8_t saturated_u8(int64_t x) {
  return static_cast<uint8_t>(std::clamp<int64_t>(x, 0, 255));
}
inline int16_t saturated_s16(int64_t x) {
  return static_cast<int16_t>(std::clamp<int64_t>(x, INT16_MIN, INT16_MAX));
}

// weights[output][k] of an int8 matrix.
inline int32_t integer_weight_at(const PackedMatrix& weights, size_t output, size_t k) {
  return static_cast<const int8_t*>(weights.data)[quad_panel_index(output, k, weights.depth)];
}

}  // namespace lightcap::internal::reference

#endif  // LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_
