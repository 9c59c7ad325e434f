// The register-tiled product that GEMM, convolution and the ensemble head share.
//
// The micro-kernel keeps a tile of MR rows by some panels of 16 columns in registers while k runs:
// one broadcast for each row and one load for each vector of weights feed rows * vectors
// multiply-adds. Register budget, sums + weights + broadcast:
//   AVX-512  12 x 32: 24 + 2 + 1 of 32       AVX2   6 x 16: 12 + 2 + 1 of 16
//   NEON      6 x 16: 24 + 4 + 1 of 32       SSE2   3 x 16: 12 + (4, reloaded) of 16
//
// A caller should split a product into calls of 96 rows, or another multiple of MR, by all columns:
// weights then come from L2 once for several tiles, while the rows stay there. If that gives fewer
// calls than threads, it should cut the columns as well, by pairs of panels.
#ifndef LIGHTCAP_KERNELS_SIMD_GEMM_INL_
#define LIGHTCAP_KERNELS_SIMD_GEMM_INL_

#include "kernels/gemm_schedule.h"
#include "kernels/simd/epilogue.inl"
#include "kernels/simd/widen.inl"

namespace lightcap::internal {
namespace {

constexpr TileShape kTileShape = Primitives::kTile;
constexpr size_t kMR = kTileShape.mr;

// The number of row pointers that the micro-kernel keeps in registers; others are reloaded from the
// stack.
constexpr size_t kRegisterPointers = 6;

// The prefetch distance, in steps of k, at which a full tile of few rows prefetches its own
// weights. Its multiply-adds fill the reorder buffer, so that the core does not reach later loads
// by itself. The distance in bytes is the same for every type of weight.
template <class Weight>
constexpr size_t kPrefetchDistance = 20 * sizeof(float) / sizeof(Weight);

// True if unrolled tiles also exist in a form that prefetches at every step, for products of few
// tiles. Narrow weights have half as many bytes in a step and need no such form.
template <class Weight>
constexpr bool kPrefetchesEachStep = sizeof(Weight) == sizeof(float);

// The prefetch into L2 of weights that are multiplied later: every `interval` steps of k the line
// at `next` is prefetched, which then moves on by `bytes`.
struct Prefetch {
  const char* next;  // null for none
  size_t bytes;      // a cache line at most
  size_t interval;   // 1 or kTileShape.unroll
};

// acc[r][v] += sum over k < length of rows[r][k] * weights[k][v], in ascending k. `panels` are
// panel_stride apart. The loop is unrolled to kUnroll steps and prefetches every kPrefetchInterval
// steps, or never where that is 0.
template <size_t kRows, size_t kPanels, size_t kUnroll, size_t kPrefetchInterval, class Weight>
[[gnu::always_inline]] inline void micro_kernel(const float* const* rows, size_t length,
                                                const Weight* panels, size_t panel_stride,
                                                Prefetch& prefetch,
                                                Floats (&acc)[kRows][kPanels * kPanelVectors]) {
  // Twelve pointers are more than x86 has general registers to spare. GCC would keep some of them
  // in vector registers, and each move back takes the issue slot of a multiply-add; a reload from
  // the stack is free. `volatile` forces that reload.
  const float* volatile stack_rows[kMR];
#pragma GCC unroll 16
  for (size_t r = kRegisterPointers; r < kRows; ++r) stack_rows[r] = rows[r];
  constexpr size_t kVectors = kPanels * kPanelVectors;
  const auto weights_at = [&](const Weight* at, size_t v) __attribute__((always_inline)) {
    return load_weights(at + v / kPanelVectors * panel_stride + v % kPanelVectors * kLanes);
  };
  // If sums, weights and a factor do not fit into the registers, a step keeps the rows' factors in
  // registers and loads one vector of weights after the other. The other way round, 3 x 32 would
  // need 17 of AVX2's 16 registers: one sum would be spilled, and each step would wait for its
  // store and load.
  const auto step_of_few_rows = [&](size_t k, const Weight* at) __attribute__((always_inline)) {
    Floats x[kRows];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) x[r] = Floats(rows[r][k]);
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const Floats weights = weights_at(at, v);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) add_product(acc[r][v], x[r], weights);
    }
  };
  const auto step = [&](size_t k, const Weight* at) __attribute__((always_inline)) {
    // Weights of fp32 need no register of their own: they are operands from memory.
    constexpr bool kWidens = sizeof(Weight) < sizeof(float);
    constexpr bool kSpills = kWidens && kLanes == 8 && kRows * kVectors + kVectors + 1 > 16;
    if constexpr (kSpills && kRows > 1) return step_of_few_rows(k, at);
    Floats weights[kVectors];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) weights[v] = weights_at(at, v);
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      const Floats x((r < kRegisterPointers ? rows[r] : stack_rows[r])[k]);
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        if (kUnroll == 1) {
          acc[r][v] = multiply_add(x, weights[v], acc[r][v]);
        } else {
          add_product(acc[r][v], x, weights[v]);
        }
      }
    }
  };
  constexpr bool kIsFullButLow = kRows < kMR && kRows * kPanels == kMR * kTileShape.nr_panels;
  const size_t unrolled = length / kUnroll * kUnroll;
  for (size_t k = 0; k < unrolled; k += kUnroll, panels += kUnroll * kPanelWidth) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kUnroll; ++i) {
      if (kPrefetchInterval != 0 && i % kPrefetchInterval == 0) {
        __builtin_prefetch(prefetch.next, 0, 2);
        prefetch.next += prefetch.bytes;
      }
      if (kIsFullButLow && kPrefetchInterval == 0) {
#pragma GCC unroll 4
        for (size_t p = 0; p < kPanels; ++p) {
          __builtin_prefetch(panels + p * panel_stride + kPrefetchDistance<Weight> * kPanelWidth, 0,
                             2);
        }
      }
      step(k + i, panels + i * kPanelWidth);
    }
  }
  if (kUnroll == 1) return;
  for (size_t k = unrolled; k < length; ++k, panels += kPanelWidth) step(k, panels);
}

// The rows of a product are not always contiguous: a convolution's row is the part of the picture
// under its window, tap by tap. A row source gives a tile's rows as segments, contiguous floats
// whose lengths add up to the depth: for_each<kRows>(f) calls f(rows, length) for each segment in
// order, with pointers to its first float in each row. This one is for GEMM, whose rows are one
// segment.
struct DenseRows {
  const float* first;  // the first row
  size_t row_stride;
  size_t length;

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    const float* rows[kRows];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) rows[r] = first + r * row_stride;
    f(rows, length);
  }
};

// The arguments that all tiles of a product share. Only the prefetch changes from tile to tile, so
// that a call of a tile writes few words: in shallow layers a tile takes little longer than its
// call.
struct TileContext {
  Output out;
  size_t panel_stride;   // from a panel of a tile to its next, in elements of the weights
  size_t panel_columns;  // from a panel of a tile to its next, in columns of the output
  Prefetch prefetch;
};

// Computes the tile at `row` and `column`, whose weights begin at `panels`.
template <class Weight, class Rows, bool kSiluInRegisters, size_t kRows, size_t kPanels>
void compute_tile(const Rows& rows, const Weight* panels, const TileContext& context, size_t row,
                  size_t column) {
  constexpr size_t kUnroll = kPanels == 1 ? kTileShape.unroll : 1;
  const size_t panel_stride = context.panel_stride;
  Prefetch prefetch = {context.prefetch.next, context.prefetch.bytes, context.prefetch.interval};
  Floats acc[kRows][kPanels * kPanelVectors];
  clear(acc);
  rows.template for_each<kRows>([&](const float* const* segment,
                                    size_t length) __attribute__((always_inline)) {
    if (prefetch.next == nullptr) {
      micro_kernel<kRows, kPanels, kUnroll, 0>(segment, length, panels, panel_stride, prefetch,
                                               acc);
    } else if (kUnroll == 1 || (kPrefetchesEachStep<Weight> && prefetch.interval == 1)) {
      micro_kernel<kRows, kPanels, kUnroll, 1>(segment, length, panels, panel_stride, prefetch,
                                               acc);
    } else {
      micro_kernel<kRows, kPanels, kUnroll, kUnroll>(segment, length, panels, panel_stride,
                                                     prefetch, acc);
    }
    panels += length * kPanelWidth;
  });
  finish_tile<kSiluInRegisters>(acc, context.out, row, column, context.panel_columns);
}

// The compiled tiles of 1 to MR rows, indexed by rows: `wide` ones have wide_panels() panels,
// `narrow` ones have one and multiply the panels that are left.
template <class Weight, class Rows>
struct TileSet {
  using Tile = void (*)(const Rows& rows, const Weight* panels, const TileContext& context,
                        size_t row, size_t column);
  Tile wide[kMR + 1];
  Tile narrow[kMR + 1];
};

// SiLU is computed in registers by tiles of its own, and by the tallest ones only. With 16
// registers GCC computes one vector after the other, with constants as memory operands; with 32 it
// interleaves all of them, and spills.
template <bool kSilu, size_t kRows>
constexpr bool kSiluInRegisters = (kSilu && kRows == kMR && !kManyRegisters);

template <bool kSilu, size_t kRows, class Weight, class Rows>
constexpr void fill_tile_set(TileSet<Weight, Rows>& set) {
  constexpr bool kInRegisters = kSiluInRegisters<kSilu, kRows>;
  set.wide[kRows] = compute_tile<Weight, Rows, kInRegisters, kRows, wide_panels(kTileShape, kRows)>;
  set.narrow[kRows] = compute_tile<Weight, Rows, kInRegisters, kRows, 1>;
  if constexpr (kRows > 1) fill_tile_set<kSilu, kRows - 1>(set);
}

template <class Weight, class Rows, bool kSilu>
constexpr TileSet<Weight, Rows> make_tile_set() {
  TileSet<Weight, Rows> set = {};
  fill_tile_set<kSilu, kMR>(set);
  return set;
}

template <class Weight, class Rows, bool kSilu>
constexpr TileSet<Weight, Rows> kTiles = make_tile_set<Weight, Rows, kSilu>();

// wide_panels() for 1 to MR rows, looked up instead of divided.
struct WidePanels {
  size_t of[kMR + 1] = {};
  constexpr WidePanels() {
    for (size_t rows = 1; rows <= kMR; ++rows) of[rows] = wide_panels(kTileShape, rows);
  }
};
constexpr WidePanels kWidePanels;

// Computes a product whose rows are one tile: see GemmSchedule::is_streaming.
template <class Weight, class RowSource>
[[gnu::always_inline]] inline void multiply_streaming(const RowSource& source, size_t rows,
                                                      size_t depth, const Weight* panels,
                                                      const Output& out) {
  const size_t panel_end = panel_count(out.columns);
  const size_t panel_stride = depth * kPanelWidth;
  const size_t streams = kWidePanels.of[rows];
  const size_t length = panel_end / streams;
  const TileContext context = {out, length * panel_stride, length * kPanelWidth, {nullptr, 0, 1}};
  source(0, rows, [&]<class Rows>(const Rows& tile_rows) {
    constexpr const TileSet<Weight, Rows>& set = kTiles<Weight, Rows, false>;
    for (size_t panel = 0; panel < length; ++panel)
      set.wide[rows](tile_rows, panels + panel * panel_stride, context, 0, panel * kPanelWidth);
    for (size_t panel = length * streams; panel < panel_end; ++panel)
      set.narrow[rows](tile_rows, panels + panel * panel_stride, context, 0, panel * kPanelWidth);
  });
}

// Computes the whole product: out [rows][columns]. source(row, count, f) calls f with the row
// source of the tile of `count` rows from `row` on. `next_panels` is null, or panels of the same
// size that are likely to be multiplied next.
template <class Weight, class RowSource>
[[gnu::always_inline]] inline void multiply(const RowSource& source, size_t rows, size_t depth,
                                            const Weight* panels, const Weight* next_panels,
                                            const Output& out) {
  const size_t panel_end = panel_count(out.columns);
  const size_t panel_stride = depth * kPanelWidth;
  const GemmSchedule schedule = schedule_gemm(kTileShape, rows, depth, panel_end, sizeof(Weight),
                                              next_panels != nullptr, kPrefetchesEachStep<Weight>);
  if (schedule.is_streaming) return multiply_streaming(source, rows, depth, panels, out);
  const RowTiles& row_tiles = schedule.row_tiles;
  const size_t prefetches = depth / schedule.prefetch_interval;
  const bool silu = out.epilogue.activation == Activation::kSilu;
  TileContext context = {out, panel_stride, kPanelWidth, {nullptr, 0, schedule.prefetch_interval}};
  for (size_t first = 0; first < panel_end; first += schedule.block_panels) {
    const size_t end = min_size(first + schedule.block_panels, panel_end);
    // The tiles of this block share the prefetch of all panels that come later; those of the last
    // block prefetch as many of the next product's.
    const bool is_last = end == panel_end;
    const Weight* following = is_last ? next_panels : panels + end * panel_stride;
    const auto* next = reinterpret_cast<const char*>(following);
    const size_t next_count = is_last ? end - first : panel_end - end;
    size_t left =
        schedule.is_prefetching && next != nullptr ? next_count * panel_stride * sizeof(Weight) : 0;
    for (size_t t = 0, row = 0; t < row_tiles.count; row += row_tiles.rows(t), ++t) {
      const size_t count = row_tiles.rows(t);
      const size_t wide = kWidePanels.of[count];
      source(row, count, [&]<class Rows>(const Rows& tile_rows) {
        const TileSet<Weight, Rows>& set =
            silu ? kTiles<Weight, Rows, true> : kTiles<Weight, Rows, false>;
        for (size_t panel = first; panel < end;) {
          const bool fits = panel + wide <= end;
          const size_t tile_panels = fits ? wide : 1;
          const size_t bytes = min_size(tile_panels * schedule.prefetch_bytes, kCacheLine);
          context.prefetch.next = left != 0 ? next : nullptr;
          context.prefetch.bytes = bytes;
          (fits ? set.wide : set.narrow)[count](tile_rows, panels + panel * panel_stride, context,
                                                row, panel * kPanelWidth);
          const size_t prefetched = min_size(prefetches * bytes, left);
          next += prefetched;
          left -= prefetched;
          panel += tile_panels;
        }
      });
    }
  }
}

// Computes the whole product with weights of any stored type.
template <class RowSource>
[[gnu::always_inline]] inline void multiply_packed(const RowSource& source, size_t rows,
                                                   const PackedMatrix& weights,
                                                   const void* next_panels, const Output& out) {
  with_panels(
      weights, [&]<class Weight>(const Weight* panels) __attribute__((always_inline)) {
        multiply(source, rows, weights.depth, panels, static_cast<const Weight*>(next_panels), out);
      });
}

void gemm(const GemmArgs& args) {
  if (args.rows == 0) return;
  const auto source = [&](size_t row, size_t, const auto& f) {
    f(DenseRows{args.a + row * args.a_stride, args.a_stride, args.weights.depth});
  };
  multiply_packed(source, args.rows, args.weights, args.next_panels,
                  {args.c, args.c_stride, args.weights.outputs, args.epilogue});
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_GEMM_INL_
