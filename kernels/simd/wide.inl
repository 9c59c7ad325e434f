// Rows of 16-bit integers as two planes of bytes, and their products with int8 weights: the planes
// are rows of a product of their own, which are joined before the epilogue of floats.
#ifndef LIGHTCAP_KERNELS_SIMD_WIDE_INL_
#define LIGHTCAP_KERNELS_SIMD_WIDE_INL_

#include "kernels/simd/epilogue.inl"
#include "kernels/simd/head.inl"
#include "kernels/simd/integer_product.inl"

namespace lightcap::internal {
namespace {

void quantize_rows(const QuantizeRowsArgs& args) {
  const size_t depth = panel_depth(args.columns, DataType::kI8);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    uint8_t* high = args.planes + 2 * row * depth;
    uint8_t* low = high + depth;
    // The bits of floats without a sign are in the order of the numbers, infinity and NaN last.
    Integers most(0);
    for (size_t k = 0; k < args.columns; k += kLanes) {
      const size_t lanes = min_size(kLanes, args.columns - k);
      most = xsimd::max(most, bits_of(load_partial(x + k, lanes)) & Integers(0x7fffffff));
    }
    alignas(64) int32_t bits[kLanes];
    most.store_aligned(bits);
    int32_t largest_bits = 0;
    for (size_t i = 0; i < kLanes; ++i)
      largest_bits = bits[i] > largest_bits ? bits[i] : largest_bits;
    const float largest = __builtin_bit_cast(float, largest_bits);
    const bool is_finite = largest_bits < 0x7f800000;
    const bool is_zero = largest < kSmallestWide;
    args.scales[row] = !is_finite ? __builtin_nanf("") : is_zero ? 0.0f : largest / kLargestWide;
    const Floats factor(is_zero || !is_finite ? 0.0f : kLargestWide / largest);
    size_t k = 0;
    for (; k < args.columns; k += kLanes) {
      const size_t lanes = min_size(kLanes, args.columns - k);
      // v + 2^15 + 2^7 has high + 128 and low + 128 as its bytes.
      Integers v(0x8080);
      if (!is_zero && is_finite) v += Primitives::to_integers(load_partial(x + k, lanes) * factor);
      v.store_aligned(bits);
      for (size_t i = 0; i < lanes; ++i) {
        high[k + i] = static_cast<uint8_t>(bits[i] >> 8);
        low[k + i] = static_cast<uint8_t>(bits[i]);
      }
    }
    for (k = args.columns; k < depth; ++k) high[k] = low[k] = 128;
  }
}

// The outputs of a product of wide rows: those of a product of floats, with the scales.
struct WideResults : Output {
  const float* row_scales;  // of all rows
  const float* scales;      // of all columns
  const int32_t* sums;
};

struct WideProduct : QuadProduct {
  using Output = WideResults;
  static constexpr size_t kPlanes = 2;
  static constexpr bool kHasStreams = true;
  static constexpr TileShape kTile = {.mr = Primitives::kTile.mr / kPlanes,
                                      .nr_panels = Primitives::kTile.nr_panels,
                                      .unroll = Primitives::kTile.unroll};

  // Bytes are 128 more than what they stand for.
  template <size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void begin(Integers (&acc)[kRows][kVectors], const WideResults& out,
                                           size_t column, size_t panel_columns) {
    constexpr int32_t kTooMuch = 128 - Primitives::kByteOffset;
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = column + v / kPanelVectors * panel_columns + v % kPanelVectors * kLanes;
      Integers start(0);
      if (kTooMuch != 0)
        start -= Integers(kTooMuch) * load_partial(out.sums + at, columns_at(out.columns, at));
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) acc[r][v] = start;
    }
  }
  template <bool kInRegisters, size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void finish(Integers (&acc)[kRows][kVectors],
                                            const WideResults& out, size_t row, size_t column,
                                            size_t panel_columns) {
    Floats joined[kRows / kPlanes][kVectors];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = column + v / kPanelVectors * panel_columns + v % kPanelVectors * kLanes;
      const Floats scale = load_partial(out.scales + at, columns_at(out.columns, at));
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows / kPlanes; ++r) {
        // The product with 256 is exact: whether it is fused with the sum makes no difference.
        const Floats sum = Floats(256.0f) * Primitives::to_floats(acc[2 * r][v]) +
                           Primitives::to_floats(acc[2 * r + 1][v]);
        joined[r][v] = Primitives::rounded(sum * scale * Floats(out.row_scales[row + r]));
      }
    }
    finish_tile<false>(joined, static_cast<const internal::Output&>(out), row, column,
                       panel_columns);
  }
};

void wide_gemm(const WideGemmArgs& args) {
  if (args.rows == 0) return;
  const size_t depth = panel_depth(args.weights.depth, DataType::kI8) / kQuad;
  const auto source = [&](size_t row, size_t, const auto& f) {
    f(DenseRows<Quad>{quads_of(args.planes) + 2 * row * depth, depth, depth});
  };
  const WideResults results = {{args.c, args.c_stride, args.weights.outputs, args.epilogue},
                               args.scales,
                               args.weights.scales,
                               args.weights.sums};
  multiply<WideProduct>(source, args.rows, depth, quads_of(args.weights), nullptr, results);
}

void wide_head_logits(const WideHeadLogitsArgs& args) {
  wide_gemm({.planes = args.planes,
             .scales = args.scales,
             .weights = args.weights,
             .c = args.logits,
             .c_stride = args.logits_stride,
             .rows = args.rows,
             .epilogue = {.bias = args.bias}});
  for (size_t row = 0; row < args.rows; ++row) {
    const float* logits = args.logits + row * args.logits_stride;
    args.maximum[row] = maximum_of(logits, args.weights.outputs);
    args.exp_sum[row] = exp_sum_of(logits, args.weights.outputs, args.maximum[row]);
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WIDE_INL_
