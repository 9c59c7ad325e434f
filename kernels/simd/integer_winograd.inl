// Winograd's filtering of bytes in integers, by tiles of 2 x 2 outputs: the transforms of
// winograd.inl on 16-bit inputs and 32-bit products, and the product between them. It is exact, so
// that it gives the same bytes as the direct convolution, with 4 multiplications an output instead
// of 9. It pays where an instruction multiplies nearly as many 16-bit numbers as bytes.
#ifndef LIGHTCAP_KERNELS_SIMD_INTEGER_WINOGRAD_INL_
#define LIGHTCAP_KERNELS_SIMD_INTEGER_WINOGRAD_INL_

#include "kernels/simd/integer_product.inl"
#include "kernels/simd/winograd.inl"

namespace lightcap::internal {
namespace {

// The vectors that bytes are transformed in: as many at a time as there are 16-bit numbers in one.
struct ByteInputs {
  using Element = uint8_t;
  using Component = int16_t;
  static constexpr size_t kSize = 2 * kLanes;
  using Vector = int16_t __attribute__((vector_size(kSize * sizeof(int16_t))));
  using Narrow = uint8_t __attribute__((vector_size(kSize)));

  static Vector load_all(const uint8_t* p) {
    Narrow bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, Vector);
  }
  static Vector load_some(const uint8_t* p, size_t count) {
    uint8_t bytes[kSize] = {};
    for (size_t i = 0; i < count; ++i) bytes[i] = p[i];
    return load_all(bytes);
  }
  static void store_all(int16_t* p, Vector x) { __builtin_memcpy(p, &x, sizeof x); }
  static void store_some(int16_t* p, Vector x, size_t count) {
    int16_t components[kSize];
    store_all(components, x);
    for (size_t i = 0; i < count; ++i) p[i] = components[i];
  }
};

void integer_winograd_input(const IntegerWinogradInputArgs& args) {
  alignas(64) uint8_t outside[kMaxOutside];
  const size_t longest = min_size(kMaxOutside, args.channels);
  for (size_t i = 0; i < longest; ++i) outside[i] = args.input_zero;
  winograd_input_with<2, ByteInputs>(args, outside);
}

// A part of a matrix of sums that begins at some row and column.
struct PairSums {
  int32_t* c;
  size_t stride;
  size_t columns;  // of the matrix, from c on
};

// The product of pairs of 16-bit integers, which take the places of a float and its weight.
struct PairProduct {
  using Element = Pair;
  using Weight = Pair;
  using Sums = Integers;
  using Output = PairSums;
  static constexpr TileShape kTile = Primitives::kTile;
  static constexpr size_t kPlanes = 1;
  static constexpr bool kHasStreams = false;
  static constexpr bool kHasSiluTiles = false;
  static constexpr bool kPrefetchesEachStep = true;
  static constexpr size_t kStepsOfRows = 1;
  static constexpr bool kMultipliesBlocks = false;
  template <size_t kRows, size_t kVectors>
  static constexpr bool kTakesRowsFirst = false;

  template <size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void begin(Integers (&acc)[kRows][kVectors], const PairSums&,
                                           size_t, size_t) {
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) acc[r][v] = Integers(0);
    }
  }
  static Integers broadcast(Pair pair) { return Integers(__builtin_bit_cast(int32_t, pair)); }
  static Integers load(const Pair* panel, size_t v) {
    return Integers::load_aligned(reinterpret_cast<const int32_t*>(panel + v * kLanes));
  }
  template <bool kIsUnrolled>
  [[gnu::always_inline]] static void add(Integers& sum, Integers x, Integers weights) {
    Primitives::add_pairs(sum, x, weights);
  }
  template <bool kInRegisters, size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void finish(Integers (&acc)[kRows][kVectors], const PairSums& out,
                                            size_t row, size_t column, size_t) {
    int32_t* c = out.c + row * out.stride + column;
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t lanes = columns_at(out.columns, column + v * kLanes);
      if (lanes == kLanes) {
#pragma GCC unroll 16
        for (size_t r = 0; r < kRows; ++r)
          acc[r][v].store_unaligned(c + r * out.stride + v * kLanes);
      } else {
#pragma GCC unroll 16
        for (size_t r = 0; r < kRows; ++r)
          store_partial(reinterpret_cast<float*>(c + r * out.stride + v * kLanes),
                        floats_of(acc[r][v]), lanes);
      }
    }
  }
};

inline const Pair* pairs_of(const int16_t* shorts) { return reinterpret_cast<const Pair*>(shorts); }

void pair_gemm(const PairGemmArgs& args) {
  if (args.rows == 0) return;
  const size_t depth = args.depth / kPair, stride = args.a_stride / kPair;
  const auto source = [&](size_t row, size_t, const auto& f) {
    f(DenseRows<Pair>{pairs_of(args.a) + row * stride, stride, depth});
  };
  multiply<PairProduct>(source, args.rows, depth, pairs_of(args.weights),
                        pairs_of(args.next_weights), {args.c, args.c_stride, args.columns});
}

// Tiles side by side, whose rows of pixels are finished together: as many as the rows of a register
// tile.
constexpr size_t kStripTiles = Primitives::kTile.mr / 2;

// Transforms the products of `tiles` tiles, from `place` on, to the sums of a panel's columns, from
// `column` on, and finishes them.
void finish_strip(const int32_t* products, const IntegerWinogradOutputArgs& args, TilePlace place,
                  size_t tiles, const IntegerResults& out, size_t column) {
  alignas(64) int32_t sums[2][2 * kStripTiles * kPanelWidth];
  for (size_t v = 0; v < kPanelVectors; ++v) {
    const size_t at = column + v * kLanes;
    const size_t lanes = columns_at(out.columns, at);
    const Integers bias = load_partial(out.epilogue.bias + at, lanes);
    for (size_t tile = 0; tile < tiles; ++tile) {
      const int32_t* from = products + tile * args.tile_stride + at;
      const auto transform = [&](size_t count) __attribute__((always_inline)) {
        const HalfOutput<2, Integers> half(from, args.component_stride, count);
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; ++i) {
          Integers y[2];
          half.row(i, y);
          int32_t* to = sums[i] + 2 * tile * kPanelWidth + v * kLanes;
          ((y[0] >> 2) + bias).store_aligned(to);
          ((y[1] >> 2) + bias).store_aligned(to + kPanelWidth);
        }
      };
      lanes == kLanes ? transform(kLanes) : transform(lanes);
    }
  }
  const size_t rows = min_size(2, args.height - place.y);
  const size_t pixels = min_size(2 * tiles, args.width - place.x);
  for (size_t i = 0; i < rows; ++i) {
    finish_sums<kPanelVectors>(sums[i], pixels, out, (place.y + i) * args.width + place.x, column);
  }
}

void integer_winograd_output(const IntegerWinogradOutputArgs& args) {
  const size_t across = (args.width + 1) / 2;
  const IntegerResults results =
      results_of(args.output, args.output_pixel_stride, args.weights, args.epilogue);
  for (size_t tile = 0; tile < args.tiles;) {
    const size_t index = args.first_tile + tile;
    const size_t left = min_size(args.tiles - tile, across - index % across);
    const size_t tiles = min_size(kStripTiles, left);
    for (size_t column = 0; column < results.columns; column += kPanelWidth) {
      finish_strip(args.input + tile * args.tile_stride, args, TilePlace(index, across, 2), tiles,
                   results, column);
    }
    tile += tiles;
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_INTEGER_WINOGRAD_INL_
