// Loads weights of every stored type as vectors of floats, widened in registers. Widening is exact,
// so a product with narrow weights is, bit for bit, the product with the same weights stored as
// fp32.
#ifndef LIGHTCAP_KERNELS_SIMD_WIDEN_INL_
#define LIGHTCAP_KERNELS_SIMD_WIDEN_INL_

#include "kernels/packed_matrix.h"
#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// IEEE binary16 and bfloat16, as distinct types so that panels know what they hold.
struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};

// Load kLanes weights from an address that is aligned to the size of all of them.
inline Floats load_weights(const float* p) { return Floats::load_aligned(p); }
inline Floats load_weights(const Half* p) { return Primitives::load_half(&p->bits); }
inline Floats load_weights(const Bfloat* p) { return Primitives::load_bfloat(&p->bits); }

// Load vector `v` < kPanelVectors of a step of a panel, for sums that order_outputs() is given:
// outputs v * kLanes on, or of bfloat16 those of one parity, where that is faster.
template <class Weight>
inline Floats load_of_panel(const Weight* panel, size_t v) {
  return load_weights(panel + v * kLanes);
}
template <class Row = Primitives>
inline Floats load_of_panel(const Bfloat* panel, size_t v) {
  if constexpr (Row::kSplitsBfloats) {
    return Row::load_bfloats_of_parity(&panel->bits, v);
  } else {
    return load_weights(panel + v * kLanes);
  }
}

// Brings sums of products with what load_of_panel() loaded into the order of the outputs.
template <class Weight, class Row = Primitives, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void order_outputs(Floats (&sums)[kRows][kVectors]) {
  if constexpr (Row::kSplitsBfloats && __is_same(Weight, Bfloat)) {
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; v += 2) Row::interleave(sums[r][v], sums[r][v + 1]);
    }
  }
}

// Calls f(panels) with the matrix's panels as a pointer to elements of the stored type.
template <class F>
[[gnu::always_inline]] inline void with_panels(const PackedMatrix& weights, const F& f) {
  switch (weights.type) {
    case DataType::kF32:
      return f(static_cast<const float*>(weights.data));
    case DataType::kF16:
      return f(static_cast<const Half*>(weights.data));
    case DataType::kBf16:
      return f(static_cast<const Bfloat*>(weights.data));
    case DataType::kI8:
    case DataType::kI32:
      return;  // these are multiplied by integer kernels
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WIDEN_INL_
