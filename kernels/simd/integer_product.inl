// Products of bytes with int8 weights: GEMM and convolution, and their epilogue. A quad of bytes
// takes the place that a float has in gemm.inl, four weights of an output that of one weight: tiles
// and loops are the same (product.inl).
#ifndef LIGHTCAP_KERNELS_SIMD_INTEGER_PRODUCT_INL_
#define LIGHTCAP_KERNELS_SIMD_INTEGER_PRODUCT_INL_

#include "kernels/simd/integer_epilogue.inl"
#include "kernels/simd/windows.inl"

namespace lightcap::internal {
namespace {

// The tile of products of quads, whose rows are `planes` rows of quads each.
constexpr TileShape quad_tile(size_t planes) {
  const size_t unroll =
      Primitives::kQuadsOfRows > 1 ? Primitives::kQuadsOfRows : Primitives::kTile.unroll;
  return {.mr = Primitives::kTile.mr / planes,
          .nr_panels = Primitives::kTile.nr_panels,
          .unroll = unroll};
}

// The part that all products of quads share.
struct QuadProduct {
  using Element = Quad;
  using Weight = WeightQuad;
  using Sums = Integers;
  static constexpr bool kHasSiluTiles = false;
  static constexpr bool kPrefetchesEachStep = true;
  static constexpr size_t kStepsOfRows = Primitives::kQuadsOfRows;
  using RowSteps = typename Primitives::RowQuads;
  template <size_t kRows, size_t kVectors>
  static constexpr bool kTakesRowsFirst =
      kManyRegisters&& kRows > 1 && kRows* kVectors + kVectors + 1 > Primitives::kRegisters;

  static Integers broadcast(Quad quad) { return Primitives::broadcast(quad); }
  static Integers load(const WeightQuad* panel, size_t v) {
    return Integers::load_aligned(reinterpret_cast<const int32_t*>(panel + v * kLanes));
  }
  template <bool kIsUnrolled>
  [[gnu::always_inline]] static void add(Integers& sum, Integers x, Integers weights) {
    Primitives::add_dots(sum, x, weights);
  }
  static RowSteps load_rows(const Quad* p) { return Primitives::load_quads(p); }
  template <size_t kStep>
  [[gnu::always_inline]] static void add_of_rows(Integers& sum, RowSteps x, Integers weights) {
    Primitives::template add_dots_of<kStep>(sum, x, weights);
  }
  static constexpr bool kMultipliesBlocks = Primitives::kMultipliesBlocks;
  using Blocks = Primitives;
};

struct IntegerProduct : QuadProduct {
  using Output = IntegerResults;
  static constexpr TileShape kTile = quad_tile(1);
  static constexpr size_t kPlanes = 1;
  // Bytes of panels side by side are stored together. Layers of a few rows are none of the graph's.
  static constexpr bool kHasStreams = false;

  // Sums begin with the bias, and with what add_dots takes away from them.
  template <size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void begin(Integers (&acc)[kRows][kVectors],
                                           const IntegerResults& out, size_t column, size_t) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = column + v * kLanes;
      const size_t count = columns_at(out.columns, at);
      Integers start = load_partial(out.epilogue.bias + at, count);
      if (Primitives::kByteOffset != 0)
        start += Integers(Primitives::kByteOffset) * load_partial(out.sums + at, count);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) acc[r][v] = start;
    }
  }
  template <bool kInRegisters, size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void finish(Integers (&acc)[kRows][kVectors],
                                            const IntegerResults& out, size_t row, size_t column,
                                            size_t) {
    finish_integer_tile(acc, out, row, column);
  }
};

inline const WeightQuad* weight_quads(const void* panels) {
  return static_cast<const WeightQuad*>(panels);
}
inline const Quad* quads_of(const uint8_t* bytes) { return reinterpret_cast<const Quad*>(bytes); }

void integer_gemm(const IntegerGemmArgs& args) {
  if (args.rows == 0) return;
  const size_t depth = args.weights.depth / kQuad, stride = args.a_stride / kQuad;
  const auto source = [&](size_t row, size_t, const auto& f) {
    f(DenseRows<Quad>{quads_of(args.a) + row * stride, stride, depth});
  };
  multiply<IntegerProduct>(source, args.rows, depth, weight_quads(args.weights.data),
                           weight_quads(args.next_panels),
                           results_of(args.c, args.c_stride, args.weights, args.epilogue));
}

void integer_conv(const IntegerConvArgs& args) {
  if (args.pixels == 0) return;
  const size_t channels = args.channels / kQuad;
  alignas(64) Quad outside[kMaxOutside];
  const Quad zeros = {{args.input_zero, args.input_zero, args.input_zero, args.input_zero}};
  const size_t longest = min_size(kMaxOutside, args.kernel_width * channels);
  for (size_t i = 0; i < longest; ++i) outside[i] = zeros;
  const Picture<Quad> picture = {.input = quads_of(args.input),
                                 .row_stride = args.input_row_stride / kQuad,
                                 .pixel_stride = args.input_pixel_stride / kQuad,
                                 .height = args.height,
                                 .width = args.width,
                                 .channels = channels,
                                 .kernel_height = args.kernel_height,
                                 .kernel_width = args.kernel_width,
                                 .stride = args.stride,
                                 .padding = args.padding,
                                 .output_width = args.output_width,
                                 .outside = outside};
  const IntegerResults results =
      results_of(args.output, args.output_pixel_stride, args.weights, args.epilogue);
  with_windows(
      picture, args.first_pixel, [&](const auto& source) __attribute__((always_inline)) {
        multiply<IntegerProduct>(source, args.pixels, args.weights.depth / kQuad,
                                 weight_quads(args.weights.data), weight_quads(args.next_panels),
                                 part_of(results, args.first_pixel, 0));
      });
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_INTEGER_PRODUCT_INL_
