// The register-tiled product that GEMM, convolution and the ensemble head share, for every kind of
// number.
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
#ifndef LIGHTCAP_KERNELS_SIMD_PRODUCT_INL_
#define LIGHTCAP_KERNELS_SIMD_PRODUCT_INL_

#include "kernels/gemm_schedule.h"
#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// A kind of product says what is multiplied and what becomes of the sums. gemm.inl has that of
// floats, integer_product.inl and wide.inl those of bytes; `Kind` in templates is one of these. A
// step of k takes one element of each row and one weight of each output: a float, or a quad of
// bytes.
//
//   Element, Weight   of the rows and of the panels
//   Sums              a vector of kLanes sums
//   Output            where results go, with what the epilogue needs
//   kTile             the largest tile, in rows of the output
//   kPlanes           rows of elements that make a row of the output, side by side
//   kHasStreams       whether the panels of a tile may lie apart (GemmSchedule::is_streaming); if
//                     not, they are side by side
//   kHasSiluTiles     whether SiLU is computed in registers, by tiles of its own
//   kPrefetchesEachStep   whether unrolled tiles also exist in a form that prefetches at every
//                     step, for products of few tiles
//   kTakesRowsFirst<rows, vectors>   whether a step of such a tile must keep the rows' factors in
//                     registers, and load one vector of weights after the other
//   begin(sums, output, column, panel_columns)   the sums before the first step
//   broadcast(element)          a row's factor of a step, as a vector
//   load(weights, v)            vector v of a panel's kPanelVectors in a step. finish() knows which
//                               outputs it is for
//   add<is_unrolled>(sum, factor, weights)
//   kStepsOfRows      1, or the steps whose factors of a row load_rows(elements) loads as one
//                     vector where the loop is unrolled so often. add_of_rows<step>(sum, vector,
//                     weights) takes its part
//   kMultipliesBlocks whether tiles of whole pairs of rows are multiplied by block_kernel, with
//                     the primitives for blocks (plain.inl), which Blocks has
//   finish<in_registers>(sums, output, row, column, panel_columns)   epilogue and store

// The number of row pointers that the micro-kernel keeps in registers; others are reloaded from the
// stack.
constexpr size_t kRegisterPointers = 6;

// The prefetch distance, in steps of k, at which a tile prefetches its own weights; 0 for none. Low
// tiles stream their weights from memory, and how far ahead of the arithmetic a core reads is up to
// its reorder buffer. Where the sums of a low tile are as many as a full tile's, multiply-adds fill
// that buffer; of narrow weights a step brings half the bytes for the same instructions.
template <class Kind, size_t kRows, size_t kPanels>
constexpr size_t own_prefetch_distance() {
  constexpr size_t kFullRows = Kind::kTile.mr * Kind::kPlanes;
  constexpr size_t kStepBytes = kPanelWidth * sizeof(typename Kind::Weight);
  if (kPanels <= Kind::kTile.nr_panels) return 0;
  if (sizeof(typename Kind::Weight) < sizeof(float)) return 4096 / kStepBytes;
  return kRows * kPanels == kFullRows * Kind::kTile.nr_panels ? 1280 / kStepBytes : 0;
}

// The prefetch into L2 of weights that are multiplied later: every `interval` steps of k the line
// at `next` is prefetched, which then moves on by `bytes`.
struct Prefetch {
  const char* next;  // null for none
  size_t bytes;      // a cache line at most
  size_t interval;   // 1 or Kind::kTile.unroll
};

// acc[r][v] += sum over k < length of rows[r][k] * weights[k][v], in ascending k. `panels` are
// panel_stride apart. The loop is unrolled to kUnroll steps and prefetches every kPrefetchInterval
// steps, or never where that is 0.
template <class Kind, size_t kRows, size_t kPanels, size_t kUnroll, size_t kPrefetchInterval>
[[gnu::always_inline]] inline void micro_kernel(
    const typename Kind::Element* const* rows, size_t length, const typename Kind::Weight* panels,
    size_t panel_stride, Prefetch& prefetch,
    typename Kind::Sums (&acc)[kRows][kPanels * kPanelVectors]) {
  using Element = typename Kind::Element;
  using Weight = typename Kind::Weight;
  using Sums = typename Kind::Sums;
  // Twelve pointers are more than x86 has general registers to spare. GCC would keep some of them
  // in vector registers, and each move back takes the issue slot of a multiply-add; a reload from
  // the stack is free. `volatile` forces that reload.
  const Element* volatile stack_rows[kRows];
#pragma GCC unroll 16
  for (size_t r = kRegisterPointers; r < kRows; ++r) stack_rows[r] = rows[r];
  constexpr size_t kVectors = kPanels * kPanelVectors;
  const auto weights_at = [&](const Weight* at, size_t v) __attribute__((always_inline)) {
    return Kind::load(at + v / kPanelVectors * panel_stride, v % kPanelVectors);
  };
  const auto step_of_few_rows = [&](size_t k, const Weight* at) __attribute__((always_inline)) {
    Sums x[kRows];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) x[r] = Kind::broadcast(rows[r][k]);
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const Sums weights = weights_at(at, v);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) Kind::template add<true>(acc[r][v], x[r], weights);
    }
  };
  const auto step = [&](size_t k, const Weight* at) __attribute__((always_inline)) {
    if constexpr (Kind::template kTakesRowsFirst<kRows, kVectors>) return step_of_few_rows(k, at);
    Sums weights[kVectors];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) weights[v] = weights_at(at, v);
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      const Sums x = Kind::broadcast((r < kRegisterPointers ? rows[r] : stack_rows[r])[k]);
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v)
        Kind::template add<kUnroll != 1>(acc[r][v], x, weights[v]);
    }
  };
  if constexpr (Kind::kStepsOfRows > 1 && kUnroll == Kind::kStepsOfRows) {
    const size_t end = length / kUnroll * kUnroll;
    for (size_t k = 0; k < end; k += kUnroll, panels += kUnroll * kPanelWidth) {
      typename Kind::RowSteps x[kRows];
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) x[r] = Kind::load_rows(rows[r] + k);
      const auto part = [&]<size_t kStep>() __attribute__((always_inline)) {
        if (kPrefetchInterval != 0 && kStep % kPrefetchInterval == 0) {
          __builtin_prefetch(prefetch.next, 0, 2);
          prefetch.next += prefetch.bytes;
        }
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v) {
          const Sums weights = weights_at(panels + kStep * kPanelWidth, v);
#pragma GCC unroll 16
          for (size_t r = 0; r < kRows; ++r)
            Kind::template add_of_rows<kStep>(acc[r][v], x[r], weights);
        }
      };
      static_assert(kUnroll == 4);
      part.template operator()<0>();
      part.template operator()<1>();
      part.template operator()<2>();
      part.template operator()<3>();
    }
    for (size_t k = end; k < length; ++k, panels += kPanelWidth) step(k, panels);
    return;
  }
  constexpr size_t kOwnPrefetch =
      kPrefetchInterval == 0 ? own_prefetch_distance<Kind, kRows, kPanels>() : 0;
  const size_t unrolled = length / kUnroll * kUnroll;
  for (size_t k = 0; k < unrolled; k += kUnroll, panels += kUnroll * kPanelWidth) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kUnroll; ++i) {
      if (kPrefetchInterval != 0 && i % kPrefetchInterval == 0) {
        __builtin_prefetch(prefetch.next, 0, 2);
        prefetch.next += prefetch.bytes;
      }
      if (kOwnPrefetch != 0) {
#pragma GCC unroll 4
        for (size_t p = 0; p < kPanels; ++p)
          __builtin_prefetch(panels + p * panel_stride + kOwnPrefetch * kPanelWidth, 0, 2);
      }
      step(k + i, panels + i * kPanelWidth);
    }
  }
  if (kUnroll == 1) return;
  for (size_t k = unrolled; k < length; ++k, panels += kPanelWidth) step(k, panels);
}

template <class Kind, size_t kRows>
constexpr bool kIsInBlocks = (Kind::kMultipliesBlocks && kRows % 2 == 0);

// Turns the sums of a tile into those of block_kernel, and back.
template <class Kind, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void exchange_blocks(typename Kind::Sums (&acc)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; r += 2) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) Kind::Blocks::exchange_halves(acc[r][v], acc[r + 1][v]);
  }
}

// micro_kernel for pairs of rows and of outputs. acc[r][v] and acc[r + 1][v] of an even r hold the
// sums of both rows, the one for the lower outputs of the vector, the other for the upper ones.
template <class Kind, size_t kRows, size_t kPanels, size_t kPrefetchInterval>
[[gnu::always_inline]] inline void block_kernel(
    const typename Kind::Element* const* rows, size_t length, const typename Kind::Weight* panels,
    size_t panel_stride, Prefetch& prefetch,
    typename Kind::Sums (&acc)[kRows][kPanels * kPanelVectors]) {
  using Sums = typename Kind::Sums;
  using Blocks = typename Kind::Blocks;
  const auto multiply_steps = [&]<size_t kSteps>(size_t k, const typename Kind::Weight* at)
      __attribute__((always_inline)) {
    Sums x[kRows / 2];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; r += 2)
      x[r / 2] = Blocks::template load_block<kSteps>(rows[r] + k, rows[r + 1] + k);
#pragma GCC unroll 16
    for (size_t v = 0; v < kPanels * kPanelVectors; ++v) {
      const auto* first = at + v / kPanelVectors * panel_stride;
      const size_t part = v % kPanelVectors;
      Sums lower = Kind::load(first, part);
      Sums upper = kSteps == 2 ? Kind::load(first + kPanelWidth, part) : Sums(0);
      Blocks::interleave(lower, upper);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; r += 2) {
        Blocks::add_blocks(acc[r][v], x[r / 2], lower);
        Blocks::add_blocks(acc[r + 1][v], x[r / 2], upper);
      }
    }
  };
  constexpr size_t kUnroll = 4;
  size_t k = 0;
  for (; k + kUnroll <= length; k += kUnroll, panels += kUnroll * kPanelWidth) {
#pragma GCC unroll 4
    for (size_t i = 0; kPrefetchInterval != 0 && i < kUnroll; i += kPrefetchInterval) {
      __builtin_prefetch(prefetch.next, 0, 2);
      prefetch.next += prefetch.bytes;
    }
    multiply_steps.template operator()<2>(k, panels);
    multiply_steps.template operator()<2>(k + 2, panels + 2 * kPanelWidth);
  }
  if (length - k >= 2) {
    multiply_steps.template operator()<2>(k, panels);
    k += 2;
    panels += 2 * kPanelWidth;
  }
  if (k < length) multiply_steps.template operator()<1>(k, panels);
}

// The rows of a product are not always contiguous: a convolution's row is the part of the picture
// under its window, tap by tap. A row source gives a tile's rows as segments, contiguous
// elements whose lengths add up to the depth: for_each<kRows>(f) calls f(rows, length) for each
// segment in order, with pointers to its first element in each row. This one is for GEMM, whose
// rows are one segment.
template <class Element>
struct DenseRows {
  const Element* first;  // the first row
  size_t row_stride;
  size_t length;

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    const Element* rows[kRows];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) rows[r] = first + r * row_stride;
    f(rows, length);
  }
};

// The arguments that all tiles of a product share. Only the prefetch changes from tile to tile, so
// that a call of a tile writes few words: in shallow layers a tile takes little longer than its
// call.
template <class Kind>
struct TileContext {
  typename Kind::Output out;
  size_t panel_stride;   // from a panel of a tile to its next, in elements of the weights
  size_t panel_columns;  // from a panel of a tile to its next, in columns of the output
  Prefetch prefetch;
};

// Computes the tile of kRows rows of the output at `row` and `column`, whose weights begin at
// `panels`.
template <class Kind, class Rows, bool kSiluInRegisters, size_t kRows, size_t kPanels>
void compute_tile(const Rows& rows, const typename Kind::Weight* panels,
                  const TileContext<Kind>& context, size_t row, size_t column) {
  constexpr size_t kUnroll = Kind::kStepsOfRows > 1 ? Kind::kStepsOfRows
                             : kPanels == 1         ? Kind::kTile.unroll
                                                    : 1;
  constexpr size_t kElementRows = kRows * Kind::kPlanes;
  const size_t panel_stride = context.panel_stride;
  Prefetch prefetch = {context.prefetch.next, context.prefetch.bytes, context.prefetch.interval};
  typename Kind::Sums acc[kElementRows][kPanels * kPanelVectors];
  Kind::begin(acc, context.out, column, context.panel_columns);
  constexpr bool kInBlocks = kIsInBlocks<Kind, kElementRows>;
  if constexpr (kInBlocks) exchange_blocks<Kind>(acc);
  rows.template for_each<kElementRows>([&](const typename Kind::Element* const* segment,
                                           size_t length) __attribute__((always_inline)) {
    const auto multiply_segment = [&]<size_t kInterval>() __attribute__((always_inline)) {
      if constexpr (kInBlocks) {
        block_kernel<Kind, kElementRows, kPanels, kInterval>(segment, length, panels, panel_stride,
                                                             prefetch, acc);
      } else {
        micro_kernel<Kind, kElementRows, kPanels, kUnroll, kInterval>(segment, length, panels,
                                                                      panel_stride, prefetch, acc);
      }
    };
    if (prefetch.next == nullptr) {
      multiply_segment.template operator()<0>();
    } else if (kUnroll == 1 || (Kind::kPrefetchesEachStep && prefetch.interval == 1)) {
      multiply_segment.template operator()<1>();
    } else {
      multiply_segment.template operator()<kUnroll>();
    }
    panels += length * kPanelWidth;
  });
  if constexpr (kInBlocks) exchange_blocks<Kind>(acc);
  Kind::template finish<kSiluInRegisters>(acc, context.out, row, column, context.panel_columns);
}

// The compiled tiles of 1 to MR rows, indexed by rows: `wide` ones have wide_panels() panels,
// `narrow` ones have one and multiply the panels that are left.
template <class Kind, class Rows>
struct TileSet {
  using Tile = void (*)(const Rows& rows, const typename Kind::Weight* panels,
                        const TileContext<Kind>& context, size_t row, size_t column);
  Tile wide[Kind::kTile.mr + 1];
  Tile narrow[Kind::kTile.mr + 1];
};

// SiLU is computed in registers by tiles of its own, and by the tallest ones only. With 16
// registers GCC computes one vector after the other, with constants as memory operands; with 32 it
// interleaves all of them, and spills.
template <class Kind, bool kSilu, size_t kRows>
constexpr bool kSiluInRegisters = (kSilu && kRows == Kind::kTile.mr && !kManyRegisters);

template <bool kSilu, size_t kRows, class Kind, class Rows>
constexpr void fill_tile_set(TileSet<Kind, Rows>& set) {
  constexpr bool kInRegisters = kSiluInRegisters<Kind, kSilu, kRows>;
  constexpr size_t kWide = wide_panels(Kind::kTile, kRows);
  set.wide[kRows] = compute_tile<Kind, Rows, kInRegisters, kRows, kWide>;
  set.narrow[kRows] = compute_tile<Kind, Rows, kInRegisters, kRows, 1>;
  if constexpr (kRows > 1) fill_tile_set<kSilu, kRows - 1>(set);
}

template <class Kind, class Rows, bool kSilu>
constexpr TileSet<Kind, Rows> make_tile_set() {
  TileSet<Kind, Rows> set = {};
  fill_tile_set<kSilu, Kind::kTile.mr>(set);
  return set;
}

template <class Kind, class Rows, bool kSilu>
constexpr TileSet<Kind, Rows> kTiles = make_tile_set<Kind, Rows, kSilu>();

// wide_panels() for 1 to MR rows, looked up instead of divided.
template <class Kind>
struct WidePanels {
  size_t of[Kind::kTile.mr + 1] = {};
  constexpr WidePanels() {
    for (size_t rows = 1; rows <= Kind::kTile.mr; ++rows) of[rows] = wide_panels(Kind::kTile, rows);
  }
};
template <class Kind>
constexpr WidePanels<Kind> kWidePanels;

// Computes a product whose rows are one tile: see GemmSchedule::is_streaming.
template <class Kind, class RowSource>
[[gnu::always_inline]] inline void multiply_streaming(const RowSource& source, size_t rows,
                                                      size_t depth,
                                                      const typename Kind::Weight* panels,
                                                      const typename Kind::Output& out) {
  const size_t panel_end = panel_count(out.columns);
  const size_t panel_stride = depth * kPanelWidth;
  const size_t streams = kWidePanels<Kind>.of[rows];
  const size_t length = panel_end / streams;
  const size_t apart = Kind::kHasStreams ? length : 1, step = Kind::kHasStreams ? 1 : streams;
  const TileContext<Kind> context = {
      out, apart * panel_stride, apart * kPanelWidth, {nullptr, 0, 1}};
  source(0, rows, [&]<class Rows>(const Rows& tile_rows) {
    constexpr const TileSet<Kind, Rows>& set = kTiles<Kind, Rows, false>;
    for (size_t i = 0, panel = 0; i < length; ++i, panel += step)
      set.wide[rows](tile_rows, panels + panel * panel_stride, context, 0, panel * kPanelWidth);
    for (size_t panel = length * streams; panel < panel_end; ++panel)
      set.narrow[rows](tile_rows, panels + panel * panel_stride, context, 0, panel * kPanelWidth);
  });
}

// Computes the whole product: out [rows][columns]. source(row, count, f) calls f with the row
// source of the tile of `count` rows from `row` on. `depth` is counted in elements. `next_panels`
// is null, or panels of the same size that are likely to be multiplied next.
template <class Kind, class RowSource>
[[gnu::always_inline]] inline void multiply(const RowSource& source, size_t rows, size_t depth,
                                            const typename Kind::Weight* panels,
                                            const typename Kind::Weight* next_panels,
                                            const typename Kind::Output& out) {
  using Weight = typename Kind::Weight;
  const size_t panel_end = panel_count(out.columns);
  const size_t panel_stride = depth * kPanelWidth;
  const GemmSchedule schedule = schedule_gemm(Kind::kTile, rows, depth, panel_end, sizeof(Weight),
                                              next_panels != nullptr, Kind::kPrefetchesEachStep);
  if (schedule.is_streaming) return multiply_streaming<Kind>(source, rows, depth, panels, out);
  const RowTiles& row_tiles = schedule.row_tiles;
  const size_t prefetches = depth / schedule.prefetch_interval;
  bool silu = false;
  if constexpr (Kind::kHasSiluTiles) silu = out.epilogue.activation == Activation::kSilu;
  TileContext<Kind> context = {
      out, panel_stride, kPanelWidth, {nullptr, 0, schedule.prefetch_interval}};
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
      const size_t wide = kWidePanels<Kind>.of[count];
      source(row, count, [&]<class Rows>(const Rows& tile_rows) {
        const TileSet<Kind, Rows>& set =
            silu ? kTiles<Kind, Rows, Kind::kHasSiluTiles> : kTiles<Kind, Rows, false>;
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

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_PRODUCT_INL_
