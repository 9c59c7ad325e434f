// The register-tiled product that GEMM, convolution and the ensemble head share.
//
// A tile is kRows output rows by kPanels panels of 16 columns, held in registers while k runs: one
// broadcast per row and one load per vector of weights feed kRows * kVectors multiply-adds.
// Register budget, accumulators + weights + broadcast:
//   AVX-512  12 x 32: 24 + 2 + 1 of 32       AVX2   6 x 16: 12 + 2 + 1 of 16
//   NEON      6 x 16: 24 + 4 + 1 of 32       SSE2   3 x 16: 12 + (4, reloaded) of 16
// Few rows take more panels side by side instead, so that enough independent sums are under way to
// hide the latency of a multiply-add.
//
// The best split of a product into calls: 96 rows, or another multiple of 12, by all columns, so
// that weights come from L2 once per 8 tiles while rows stay there. Too few rows for the threads:
// cut the columns as well, by pairs of panels.
#ifndef LIGHTCAP_KERNELS_SIMD_GEMM_INL_
#define LIGHTCAP_KERNELS_SIMD_GEMM_INL_

#include "kernels/simd/activation.inl"
#include "kernels/simd/primitives.inl"
#include "kernels/simd/widen.inl"

namespace lightcap {
namespace {

constexpr size_t kPanelVectors = kPanelWidth / kLanes;
constexpr size_t kTileRows = kLanes == 16 ? 12 : kLanes == 8 ? 6 : kManyRegisters ? 6 : 3;
constexpr size_t kTilePanels = kLanes == 16 ? 2 : 1;
constexpr size_t kNearRows = 6;
// Steps of k that a turn of the loop takes where tiles are one panel wide. AVX2's step is 12
// multiply-adds and 8 loads, for which the multipliers need 6 cycles. Counting and calling ahead at
// each step would be a fifth more instructions, and a core that is shared by two threads, as
// servers' are, decodes for each in every second cycle only: the encoder's products then took 1.1 x
// as long.
constexpr size_t kUnroll = kLanes == 8 ? 4 : 1;

// Steps that a full tile of few rows calls for its own weights ahead: its multiply-adds fill the
// window in which the core itself would look for what to load. The distance in bytes is the same
// for every type of weight.
template <class Weight>
constexpr size_t kReach = 20 * sizeof(float) / sizeof(Weight);

// Weights to call into L2 while others are multiplied: every `every` steps of k, 1 or kUnroll, a
// line and then `step` bytes on, 64 at most.
struct Ahead {
  const char* from;  // null for none
  size_t step;
  size_t every;
};

// acc[r][v] += sum over k < length of rows[r][k] * the weights of vector v, k by k. `panels` are
// panel_stride apart. kTurn steps make a turn of the loop; every kAhead of them, unless that is 0,
// `ahead` is called for and moves on.
template <size_t kRows, size_t kPanels, size_t kTurn, size_t kAhead, class Weight>
[[gnu::always_inline]] inline void multiply(const float* const* rows, size_t length,
                                            const Weight* panels, size_t panel_stride, Ahead& ahead,
                                            Floats (&acc)[kRows][kPanels * kPanelVectors]) {
  // Twelve pointers are more than x86 has registers to spare. GCC would keep some in vector
  // registers, and each move back costs the slot of a multiply-add; a load from the stack costs
  // nothing.
  const float* volatile far[kTileRows];
#pragma GCC unroll 16
  for (size_t r = kNearRows; r < kRows; ++r) far[r] = rows[r];
  constexpr size_t kVectors = kPanels * kPanelVectors;
  const auto weights_at = [&](const Weight* at, size_t v) __attribute__((always_inline)) {
    return load_weights(at + v / kPanelVectors * panel_stride + v % kPanelVectors * kLanes);
  };
  // Where sums, weights and a factor do not fit into the registers, a step holds the rows' factors
  // in registers and lets the weights pass: the other way round, 3 x 32 would need 17 of AVX2's 16
  // registers, and the sum that is spilled then takes part in every step at the latency of a store
  // and a load.
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
      const Floats x((r < kNearRows ? rows[r] : far[r])[k]);
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        if (kTurn == 1) {
          acc[r][v] = multiply_add(x, weights[v], acc[r][v]);
        } else {
          add_product(acc[r][v], x, weights[v]);
        }
      }
    }
  };
  constexpr bool kFull = kRows < kTileRows && kRows * kPanels == kTileRows * kTilePanels;
  const size_t whole = length / kTurn * kTurn;
  for (size_t k = 0; k < whole; k += kTurn, panels += kTurn * kPanelWidth) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kTurn; ++i) {
      if (kAhead != 0 && i % kAhead == 0) {
        __builtin_prefetch(ahead.from, 0, 2);
        ahead.from += ahead.step;
      }
      if (kFull && kAhead == 0) {
#pragma GCC unroll 4
        for (size_t p = 0; p < kPanels; ++p)
          __builtin_prefetch(panels + p * panel_stride + kReach<Weight> * kPanelWidth, 0, 2);
      }
      step(k + i, panels + i * kPanelWidth);
    }
  }
  if (kTurn == 1) return;
  for (size_t k = whole; k < length; ++k, panels += kPanelWidth) step(k, panels);
}

// What an epilogue needs of its place: the columns left from its first one on.
struct Output {
  float* c;
  size_t stride;
  size_t columns;
  Epilogue epilogue;  // bias and residual at the first row and column
};

[[gnu::always_inline]] inline Output part_of(Output out, size_t row, size_t column) {
  out.c += row * out.stride + column;
  out.columns -= column;
  if (out.epilogue.bias != nullptr) out.epilogue.bias += column;
  if (out.epilogue.residual != nullptr)
    out.epilogue.residual += row * out.epilogue.residual_stride + column;
  return out;
}

enum class ResidualPlace : uint8_t { kNone, kBefore, kAfter };

// The epilogue in general, for sums [rows][columns], rows `stride` apart, that a tile has put down.
// With kWhole there is a bias and the columns are whole panels: nothing is left to decide inside
// the loop, where an activation's steps have to overlap with those of the next vectors.
template <Activation kActivation, ResidualPlace kResidual, bool kWhole>
void finish_sums_with(const float* sums, size_t stride, size_t rows, size_t columns,
                      const Output& output) {
  const Output out = output;  // what is stored can't change this one
  const Epilogue& epilogue = out.epilogue;
  const auto finish = [&](size_t row, size_t column, size_t lanes) __attribute__((always_inline)) {
    Floats sum = Floats::load_aligned(sums + row * stride + column);
    if (kWhole || epilogue.bias != nullptr) sum += load_partial(epilogue.bias + column, lanes);
    Floats residual(0.0f);
    if (kResidual != ResidualPlace::kNone)
      residual = load_partial(epilogue.residual + row * epilogue.residual_stride + column, lanes);
    if (kResidual == ResidualPlace::kBefore) sum += residual;
    sum = activate_value(sum, kActivation);
    if (kResidual == ResidualPlace::kAfter) sum += residual;
    store_partial(out.c + row * out.stride + column, sum, lanes);
  };
  for (size_t row = 0; row < rows; ++row) {
    if (kWhole) {
      for (size_t column = 0; column < columns; column += kPanelWidth) {
#pragma GCC unroll 4
        for (size_t v = 0; v < kPanelVectors; ++v) finish(row, column + v * kLanes, kLanes);
      }
    } else {
      for (size_t column = 0; column < columns; column += kLanes)
        finish(row, column, min_size(kLanes, columns - column));
    }
  }
}

template <Activation kActivation>
void finish_sums_of(const float* sums, size_t stride, size_t rows, size_t columns,
                    const Output& out) {
  const bool whole = out.epilogue.bias != nullptr && columns % kPanelWidth == 0;
  const auto finish = [&]<ResidualPlace kResidual>() {
    whole ? finish_sums_with<kActivation, kResidual, true>(sums, stride, rows, columns, out)
          : finish_sums_with<kActivation, kResidual, false>(sums, stride, rows, columns, out);
  };
  if (out.epilogue.residual == nullptr) {
    finish.template operator()<ResidualPlace::kNone>();
  } else if (out.epilogue.residual_after) {
    finish.template operator()<ResidualPlace::kAfter>();
  } else {
    finish.template operator()<ResidualPlace::kBefore>();
  }
}

// As many columns as `out` has left, `columns` at most.
[[gnu::noinline]] void finish_sums(const float* sums, size_t stride, size_t rows, size_t columns,
                                   const Output& out) {
  columns = min_size(columns, out.columns);
  switch (out.epilogue.activation) {
    case Activation::kNone:
      return finish_sums_of<Activation::kNone>(sums, stride, rows, columns, out);
    case Activation::kRelu:
      return finish_sums_of<Activation::kRelu>(sums, stride, rows, columns, out);
    case Activation::kSilu:
      return finish_sums_of<Activation::kSilu>(sums, stride, rows, columns, out);
    case Activation::kGelu:
      return finish_sums_of<Activation::kGelu>(sums, stride, rows, columns, out);
    case Activation::kSigmoid:
      return finish_sums_of<Activation::kSigmoid>(sums, stride, rows, columns, out);
  }
}

// The epilogue of a whole tile that is still in registers. The columns of its panels begin
// panel_columns apart.
template <Activation kActivation, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_whole(Floats (&acc)[kRows][kVectors], const Output& out,
                                                size_t row, size_t first_column,
                                                size_t panel_columns) {
  // Each field on its own: as a whole the compiler would read them before they have arrived.
  const size_t stride = out.stride, residual_stride = out.epilogue.residual_stride;
  float* const c = out.c + row * stride + first_column;
  const float* const bias = out.epilogue.bias;
  const float* residual = out.epilogue.residual;
  if (residual != nullptr) residual += row * residual_stride + first_column;
#pragma GCC unroll 16
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t column = v / kPanelVectors * panel_columns + v % kPanelVectors * kLanes;
    if (bias != nullptr) {
      const Floats x = load(bias + first_column + column);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) acc[r][v] += x;
    }
    if (residual != nullptr) {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) acc[r][v] += load(residual + r * residual_stride + column);
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) acc[r][v] = activate_value(acc[r][v], kActivation);
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) store(c + r * stride + column, acc[r][v]);
  }
}

// Whole tiles of the image networks stay in registers; others put their sums down. With kSilu that
// is whole tiles with SiLU.
template <bool kSilu, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_tile(Floats (&acc)[kRows][kVectors], const Output& out,
                                               size_t row, size_t column, size_t panel_columns) {
  constexpr size_t kPanels = kVectors / kPanelVectors;
  const Activation activation = out.epilogue.activation;
  const size_t end = column + (kPanels - 1) * panel_columns + kPanelWidth;
  if (!out.epilogue.residual_after && out.columns >= end) {
    if (kSilu && activation == Activation::kSilu)
      return finish_whole<Activation::kSilu>(acc, out, row, column, panel_columns);
    if (!kSilu && activation == Activation::kNone)
      return finish_whole<Activation::kNone>(acc, out, row, column, panel_columns);
    if (!kSilu && activation == Activation::kRelu)
      return finish_whole<Activation::kRelu>(acc, out, row, column, panel_columns);
  }
  alignas(64) float sums[kRows * kVectors * kLanes];
#pragma GCC unroll 64
  for (size_t i = 0; i < kRows * kVectors; ++i)
    acc[i / kVectors][i % kVectors].store_aligned(sums + i * kLanes);
  for (size_t panel = 0; panel < kPanels; ++panel) {
    finish_sums(sums + panel * kPanelWidth, kVectors * kLanes, kRows, kPanelWidth,
                part_of(out, row, column + panel * panel_columns));
  }
}

// Where a tile's rows have their factors, as runs of contiguous floats that make up the depth: for
// GEMM, one. for_each calls f(rows, length) for each run: where it begins in each row, and its
// length.
struct GemmRuns {
  const float* first;  // of the first row
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

// What all tiles of a product share, so that to hand one out is to write little: in shallow layers
// a tile is not many times the work of a call.
struct Product {
  Output out;
  size_t panel_stride;   // from a panel of a tile to its next,
  size_t panel_columns;  // and between their columns
  Ahead ahead;           // of the tile that comes
};

// Whether unrolled tiles also come in a form that prefetches at every single step, for products of
// few tiles. Narrow weights, half as many bytes a step, do without.
template <class Weight>
constexpr bool kHasSingleSteps = sizeof(Weight) == sizeof(float);

// The tile at `row` and `column`, whose weights begin at `panels`.
template <class Weight, class Runs, bool kSilu, size_t kRows, size_t kPanels>
void tile(const Runs& runs, const Weight* panels, const Product& product, size_t row,
          size_t column) {
  constexpr size_t kTurn = kPanels == 1 ? kUnroll : 1;
  const size_t panel_stride = product.panel_stride;
  Ahead ahead = {product.ahead.from, product.ahead.step, product.ahead.every};
  Floats acc[kRows][kPanels * kPanelVectors];
  clear(acc);
  runs.template for_each<kRows>([&](const float* const* rows,
                                    size_t length) __attribute__((always_inline)) {
    if (ahead.from == nullptr) {
      multiply<kRows, kPanels, kTurn, 0>(rows, length, panels, panel_stride, ahead, acc);
    } else if (kTurn == 1 || (kHasSingleSteps<Weight> && ahead.every == 1)) {
      multiply<kRows, kPanels, kTurn, 1>(rows, length, panels, panel_stride, ahead, acc);
    } else {
      multiply<kRows, kPanels, kTurn, kTurn>(rows, length, panels, panel_stride, ahead, acc);
    }
    panels += length * kPanelWidth;
  });
  finish_tile<kSilu>(acc, product.out, row, column, product.panel_columns);
}

// Panels that tiles of so many rows take side by side: as many as fit, 4 at most.
struct WidePanels {
  size_t of[kTileRows + 1] = {};
  constexpr WidePanels() {
    for (size_t rows = 1; rows <= kTileRows; ++rows) {
      const size_t fit = kTileRows * kTilePanels / rows;
      of[rows] = fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
    }
  }
};
constexpr WidePanels kWidePanels;

// Tiles of 1 to kTileRows rows: with kWidePanels, and with one panel for what is left.
template <class Weight, class Runs>
struct TileSet {
  using Tile = void (*)(const Runs& runs, const Weight* panels, const Product& product, size_t row,
                        size_t column);
  Tile wide[kTileRows + 1];
  Tile narrow[kTileRows + 1];
};

// Tiles of their own for SiLU, which would cost the others registers, and only the tallest ones.
// With 16 registers GCC finishes one vector after the other, with constants as operands from
// memory; where there are 32 it has all of them under way at once, and spills.
template <bool kSilu, size_t kRows>
constexpr bool kFinishesSilu = (kSilu && kRows == kTileRows && !kManyRegisters);

template <bool kSilu, size_t kRows, class Weight, class Runs>
constexpr void fill_tile_set(TileSet<Weight, Runs>& set) {
  set.wide[kRows] = tile<Weight, Runs, kFinishesSilu<kSilu, kRows>, kRows, kWidePanels.of[kRows]>;
  set.narrow[kRows] = tile<Weight, Runs, kFinishesSilu<kSilu, kRows>, kRows, 1>;
  if constexpr (kRows > 1) fill_tile_set<kSilu, kRows - 1>(set);
}

template <class Weight, class Runs, bool kSilu>
constexpr TileSet<Weight, Runs> make_tile_set() {
  TileSet<Weight, Runs> set = {};
  fill_tile_set<kSilu, kTileRows>(set);
  return set;
}

template <class Weight, class Runs, bool kSilu>
constexpr TileSet<Weight, Runs> kTiles = make_tile_set<Weight, Runs, kSilu>();

// Rows cut into tiles of nearly equal height, so that none is a sliver: the first ones have one row
// more.
struct RowTiles {
  size_t tiles, height, taller;
  explicit RowTiles(size_t rows)
      : tiles((rows + kTileRows - 1) / kTileRows), height(rows / tiles), taller(rows % tiles) {}
  size_t rows(size_t tile) const { return height + (tile < taller); }
};

// Panels that all rows of a call pass before the next come. A shallow block is taken four panels
// wide, so that rows are walked less often; a deep one has to leave room in L2 for the rows; rows
// of one tile pass once.
constexpr size_t kBlockPanels = 4;
constexpr size_t kDeep = 1024;
// Bytes of weights this few are in L2 from the first call for a layer to the last.
constexpr size_t kNearWeights = 128 * 1024;
constexpr size_t kCacheLine = 64;

// Rows that are one tile and take some panels side by side: their weights pass once, and memory
// rules. The panels of a tile lie far apart, so that each goes on, from tile to tile, as a stream
// of its own: a core reads two of these 1.3 x as fast as one, and four 1.4 x. To call ahead would
// only disturb.
template <class Weight, class WithRuns>
[[gnu::always_inline]] inline void multiply_few(const WithRuns& with_runs, size_t rows,
                                                size_t depth, const Weight* panels,
                                                const Output& out) {
  const size_t panel_end = (out.columns + kPanelWidth - 1) / kPanelWidth;
  const size_t panel_stride = depth * kPanelWidth;
  const size_t streams = kWidePanels.of[rows];
  const size_t length = panel_end / streams;
  const Product product = {out, length * panel_stride, length * kPanelWidth, {nullptr, 0, 1}};
  with_runs(0, rows, [&]<class Runs>(const Runs& runs) {
    constexpr const TileSet<Weight, Runs>& set = kTiles<Weight, Runs, false>;
    for (size_t panel = 0; panel < length; ++panel)
      set.wide[rows](runs, panels + panel * panel_stride, product, 0, panel * kPanelWidth);
    for (size_t panel = length * streams; panel < panel_end; ++panel)
      set.narrow[rows](runs, panels + panel * panel_stride, product, 0, panel * kPanelWidth);
  });
}

// The whole product: out [rows][columns]. with_runs(row, count, f) calls f(runs) with those of the
// tile of `count` rows from `row` on. `next_panels` is null or what comes after `panels`, of the
// same size.
template <class Weight, class WithRuns>
[[gnu::always_inline]] inline void multiply_all(const WithRuns& with_runs, size_t rows,
                                                size_t depth, const Weight* panels,
                                                const Weight* next_panels, const Output& out) {
  const size_t panel_end = (out.columns + kPanelWidth - 1) / kPanelWidth;
  const size_t panel_stride = depth * kPanelWidth;
  const RowTiles tiles(rows);
  if (tiles.tiles == 1 && kWidePanels.of[rows] > 1)
    return multiply_few(with_runs, rows, depth, panels, out);
  const size_t block = tiles.tiles == 1 ? 1 : depth <= kDeep ? kBlockPanels : kTilePanels;
  constexpr size_t kStepBytes = kPanelWidth * sizeof(Weight);
  // Few rows take less time than their weights' way: a line at each step.
  const bool single = tiles.tiles < kUnroll && kHasSingleSteps<Weight>;
  const size_t every = single || kTilePanels > 1 ? 1 : kUnroll;
  const size_t calls = depth / every;
  const size_t panel_share = (every * kStepBytes + tiles.tiles - 1) / tiles.tiles;
  const bool far =
      next_panels != nullptr || panel_end * panel_stride * sizeof(Weight) > kNearWeights;
  const bool silu = out.epilogue.activation == Activation::kSilu;
  Product product = {out, panel_stride, kPanelWidth, {nullptr, 0, every}};
  for (size_t first = 0; first < panel_end; first += block) {
    const size_t end = min_size(first + block, panel_end);
    // The next block may still be in memory. Each step of this one calls for its share of it, so
    // that memory works as long as arithmetic does, not in bursts that arithmetic waits for.
    const bool last = end == panel_end;
    const Weight* following = last ? next_panels : panels + end * panel_stride;
    const auto* next = reinterpret_cast<const char*>(following);
    const size_t next_count = last ? end - first : panel_end - end;
    size_t left = far && next != nullptr ? next_count * panel_stride * sizeof(Weight) : 0;
    for (size_t t = 0, row = 0; t < tiles.tiles; row += tiles.rows(t), ++t) {
      const size_t count = tiles.rows(t);
      const size_t wide = kWidePanels.of[count];
      with_runs(row, count, [&]<class Runs>(const Runs& runs) {
        const TileSet<Weight, Runs>& set =
            silu ? kTiles<Weight, Runs, true> : kTiles<Weight, Runs, false>;
        for (size_t panel = first; panel < end;) {
          const bool fits = panel + wide <= end;
          const size_t step = fits ? wide : 1;
          const size_t share = min_size(step * panel_share, kCacheLine);
          product.ahead.from = left != 0 ? next : nullptr;
          product.ahead.step = share;
          (fits ? set.wide : set.narrow)[count](runs, panels + panel * panel_stride, product, row,
                                                panel * kPanelWidth);
          const size_t called = min_size(calls * share, left);
          next += called;
          left -= called;
          panel += step;
        }
      });
    }
  }
}

// The whole product with weights of any stored type.
template <class WithRuns>
[[gnu::always_inline]] inline void multiply_packed(const WithRuns& with_runs, size_t rows,
                                                   const PackedMatrix& weights,
                                                   const void* next_panels, const Output& out) {
  with_panels(
      weights, [&]<class Weight>(const Weight* panels) __attribute__((always_inline)) {
        multiply_all(with_runs, rows, weights.depth, panels,
                     static_cast<const Weight*>(next_panels), out);
      });
}

void gemm(const GemmArgs& args) {
  if (args.rows == 0) return;
  const auto with_runs = [&](size_t row, size_t, const auto& f) {
    f(GemmRuns{args.a + row * args.a_stride, args.a_stride, args.weights.depth});
  };
  multiply_packed(with_runs, args.rows, args.weights, args.next_panels,
                  {args.c, args.c_stride, args.weights.outputs, args.epilogue});
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_GEMM_INL_
