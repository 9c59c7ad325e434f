// Rows of 16-bit integers as two planes of bytes, and their products with int8 weights: the planes
// are rows of a product of their own, which are joined before the epilogue of floats.
#ifndef LIGHTCAP_KERNELS_SIMD_WIDE_INL_
#define LIGHTCAP_KERNELS_SIMD_WIDE_INL_

#include "kernels/simd/epilogue.inl"
#include "kernels/simd/head.inl"
#include "kernels/simd/integer_product.inl"

namespace lightcap::internal {
namespace {

// The largest |x[k]| of `columns` numbers, by its bits: without a sign they are in the order of the
// numbers, infinity and NaN last.
inline int32_t largest_bits_of(const float* x, size_t columns) {
  Integers most(0);
  for (size_t k = 0; k < columns; k += kLanes) {
    const Floats next = load_partial(x + k, min_size(kLanes, columns - k));
    most = xsimd::max(most, bits_of(next) & Integers(0x7fffffff));
  }
  alignas(64) int32_t lanes[kLanes];
  most.store_aligned(lanes);
  int32_t largest = lanes[0];
  for (size_t i = 1; i < kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

// Writes v = rint(x[k] * factor) of `columns` numbers, at most 4 * kLanes, as its two bytes.
[[gnu::always_inline]] inline void split_bytes(const float* x, Floats factor, size_t columns,
                                               typename Primitives::Bytes& high,
                                               typename Primitives::Bytes& low) {
  Integers v[4];
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    const size_t lanes = columns_at(columns, i * kLanes);
    // With 128 more, the upper byte is high, and the lower one is low + 128.
    v[i] = Primitives::to_integers(load_partial(x + i * kLanes, lanes) * factor) + Integers(128);
  }
  Primitives::split(Primitives::pack(v[0], v[1]), Primitives::pack(v[2], v[3]), high, low);
}

void quantize_rows(const QuantizeRowsArgs& args) {
  constexpr size_t kBytes = 4 * kLanes;
  constexpr int32_t kInfinityBits = 0x7f800000;
  const size_t depth = panel_depth(args.columns, DataType::kI8);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    uint8_t* planes = args.planes + 2 * row * depth;
    const int32_t largest_bits = largest_bits_of(x, args.columns);
    const float largest = __builtin_bit_cast(float, largest_bits);
    const bool is_finite = largest_bits < kInfinityBits;
    const bool is_zero = largest < kSmallestWide;
    args.scales[row] = !is_finite ? __builtin_nanf("") : is_zero ? 0.0f : largest / kLargestWide;
    const Floats factor(is_zero || !is_finite ? 0.0f : kLargestWide / largest);
    typename Primitives::Bytes high, low;
    size_t k = 0;
    for (; k + kBytes <= args.columns; k += kBytes) {
      split_bytes(x + k, factor, kBytes, high, low);
      Primitives::template store_rows<1>(high, planes + k, 0, 1);
      Primitives::template store_rows<1>(low, planes + depth + k, 0, 1);
    }
    if (k == args.columns) continue;
    // Behind the last column v is 0, of which both bytes are 128.
    split_bytes(x + k, factor, args.columns - k, high, low);
    __builtin_memcpy(planes + k, &high, depth - k);
    __builtin_memcpy(planes + depth + k, &low, depth - k);
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
  static constexpr TileShape kTile = quad_tile(kPlanes);

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
  multiply<WideProduct>(source, args.rows, depth, weight_quads(args.weights.data),
                        weight_quads(args.next_panels), results);
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
