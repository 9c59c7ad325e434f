// The roundings of integer arithmetic, which the reference kernels share. They are compiled without
// contraction, so that each operation of floats is one rounding.
#ifndef LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_
#define LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace lightcap::internal::reference {

inline int64_t nearest(float x) { return std::llrint(x); }
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
