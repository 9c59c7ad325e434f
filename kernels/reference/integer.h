// The roundings of integer arithmetic, which the reference kernels share. They are compiled without
// contraction, so that each operation of floats is one rounding.
#ifndef LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_
#define LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_

#include <algorithm>
#include <cmath>

#include "kernels/integer_silu.h"
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

// The place of a matrix of results.
struct Place {
  const IntegerOutput& output;
  size_t stride;
};

// Stores one element of the output, whose sum of products is `sum_of_products`.
inline void finish(const Place& place, const PackedMatrix& weights, const IntegerEpilogue& epilogue,
                   int32_t sum_of_products, size_t row, size_t column) {
  const int64_t biased = int64_t{sum_of_products} + epilogue.bias[column];
  float t = static_cast<float>(biased) * weights.scales[column];
  int64_t after = epilogue.zero;
  if (epilogue.residual != nullptr) {
    const uint8_t r = epilogue.residual[row * epilogue.residual_stride + column];
    if (epilogue.residual_after) {
      after = r;
    } else {
      const auto centred = static_cast<float>(r - epilogue.residual_zero);
      t = t + centred * epilogue.residual_scale;
    }
  }
  const size_t i = row * place.stride + column;
  if (place.output.floats != nullptr) {
    place.output.floats[i] = epilogue.activation == Activation::kRelu ? std::max(t, 0.0f) : t;
    return;
  }
  int64_t y = nearest(t);
  if (epilogue.activation == Activation::kRelu) y = std::max<int64_t>(y, 0);
  if (epilogue.activation == Activation::kSilu)
    y = multiply_high_rounded(integer_silu(saturated_s16(y)), epilogue.silu_factor);
  place.output.bytes[i] = saturated_u8(y + after);
}

}  // namespace lightcap::internal::reference

#endif  // LIGHTCAP_KERNELS_REFERENCE_INTEGER_H_
