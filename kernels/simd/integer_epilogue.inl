// The epilogue of integer products, which makes bytes or floats of a tile's sums. Every rounding is
// the contract's (kernels.h): all instruction sets compute the same bits.
#ifndef LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_
#define LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_

#include "kernels/integer_silu.h"
#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// A part of the output matrix that begins at some row and column.
struct IntegerResults {
  IntegerOutput c;
  size_t stride;
  size_t columns;       // columns of the matrix from c's on
  const float* scales;  // these, the sums of weights, and the epilogue's bias and residual
  const int32_t* sums;  // begin at c's row and column
  IntegerEpilogue epilogue;
};

inline IntegerResults results_of(const IntegerOutput& c, size_t stride, const PackedMatrix& weights,
                                 const IntegerEpilogue& epilogue) {
  return {c, stride, weights.outputs, weights.scales, weights.sums, epilogue};
}

[[gnu::always_inline]] inline IntegerResults part_of(IntegerResults out, size_t row,
                                                     size_t column) {
  if (out.c.bytes != nullptr) out.c.bytes += row * out.stride + column;
  if (out.c.floats != nullptr) out.c.floats += row * out.stride + column;
  out.columns -= column;
  out.scales += column;
  out.sums += column;
  out.epilogue.bias += column;
  if (out.epilogue.residual != nullptr)
    out.epilogue.residual += row * out.epilogue.residual_stride + column;
  return out;
}

// The columns of a vector that begins at column `at` of `columns`.
inline size_t columns_at(size_t columns, size_t at) {
  return at < columns ? min_size(kLanes, columns - at) : 0;
}

inline uint8_t finished_byte(int32_t x, int32_t residual, const IntegerEpilogue& epilogue) {
  int32_t after = epilogue.zero;
  if (epilogue.activation == Activation::kRelu) {
    x = x < 0 ? 0 : x;
  } else if (epilogue.activation == Activation::kSilu) {
    x = x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x;
    x = multiply_high_rounded(integer_silu(static_cast<int16_t>(x)), epilogue.silu_factor);
    if (epilogue.residual_after) after = residual;
  }
  const int32_t y = x + after;
  return static_cast<uint8_t>(y < 0 ? 0 : y > 255 ? 255 : y);
}

// Finishes `columns` columns of sums [rows][stride], or as many as `out` has left.
[[gnu::noinline]] void finish_integers(const int32_t* sums, size_t stride, size_t rows,
                                       size_t columns, const IntegerResults& out) {
  const IntegerEpilogue& epilogue = out.epilogue;
  const bool is_added = epilogue.residual != nullptr && !epilogue.residual_after;
  columns = min_size(columns, out.columns);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; column += kLanes) {
      const size_t lanes = min_size(kLanes, columns - column);
      alignas(64) int32_t residual[kLanes] = {}, nearest[kLanes];
      if (epilogue.residual != nullptr) {
        const uint8_t* r = epilogue.residual + row * epilogue.residual_stride + column;
        for (size_t i = 0; i < lanes; ++i) residual[i] = r[i];
      }
      Floats t = Primitives::to_floats(Integers::load_aligned(sums + row * stride + column));
      t = Primitives::rounded(t * load_partial(out.scales + column, lanes));
      if (is_added) {
        const Integers centred =
            Integers::load_aligned(residual) - Integers(epilogue.residual_zero);
        t += Primitives::rounded(Primitives::to_floats(centred) * Floats(epilogue.residual_scale));
      }
      if (out.c.floats != nullptr) {
        if (epilogue.activation == Activation::kRelu) t = Primitives::max(t, Floats(0.0f));
        store_partial(out.c.floats + row * out.stride + column, t, lanes);
        continue;
      }
      Primitives::to_integers(t).store_aligned(nearest);
      uint8_t* y = out.c.bytes + row * out.stride + column;
      for (size_t i = 0; i < lanes; ++i) y[i] = finished_byte(nearest[i], residual[i], epilogue);
    }
  }
}

template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_integer_tile(Integers (&acc)[kRows][kVectors],
                                                       const IntegerResults& out, size_t row,
                                                       size_t column, size_t panel_columns) {
  alignas(64) int32_t sums[kRows * kVectors * kLanes];
#pragma GCC unroll 64
  for (size_t i = 0; i < kRows * kVectors; ++i)
    acc[i / kVectors][i % kVectors].store_aligned(sums + i * kLanes);
  for (size_t panel = 0; panel < kVectors / kPanelVectors; ++panel) {
    finish_integers(sums + panel * kPanelWidth, kVectors * kLanes, kRows, kPanelWidth,
                    part_of(out, row, column + panel * panel_columns));
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_
