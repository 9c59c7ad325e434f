// Cuts a product into register tiles: sizes in, loops out. The schedule is plain data and knows no
// instruction, so it can be read and tested apart from the kernels that follow it. docs/kernels.md
// draws panels, tiles and blocks.
//
// Everything here has internal linkage: units that are compiled with different flags include it,
// and the linker must not let one use another's copy.
#ifndef LIGHTCAP_KERNELS_GEMM_SCHEDULE_H_
#define LIGHTCAP_KERNELS_GEMM_SCHEDULE_H_

#include <cstddef>

#include "kernels/packed_matrix.h"

namespace lightcap::internal {
namespace {

// The register tile of an instruction set: MR rows by NR = 16 * nr_panels columns.
struct TileShape {
  size_t mr;
  size_t nr_panels;
  size_t unroll;  // steps of k in one iteration of the loop, for tiles that are one panel wide
};

// Rows cut into tiles of nearly equal height, so that none is a sliver: the first `taller` tiles
// have one row more than `height`.
struct RowTiles {
  size_t count, height, taller;
  constexpr RowTiles(size_t rows, size_t mr)
      : count((rows + mr - 1) / mr), height(rows / count), taller(rows % count) {}
  constexpr size_t rows(size_t tile) const { return height + (tile < taller); }
};

// The number of panels that a tile of `rows` rows takes side by side, 4 at most, to have as many
// independent sums under way as a tile of full height: fewer would not hide the latency of a
// multiply-add.
constexpr size_t wide_panels(const TileShape& tile, size_t rows) {
  const size_t fit = tile.mr * tile.nr_panels / rows;
  return fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

// The size of a block: the panels that are multiplied with all rows before the next block's. A
// shallow product takes four, so that its rows are read less often; a deep one takes fewer, which
// leaves room in L2 for the rows.
constexpr size_t kShallowBlockPanels = 4;
constexpr size_t kDeepProduct = 1024;  // depth above which a product is deep
// Weights of so many bytes stay in L2 between the calls for a layer and need no prefetch.
constexpr size_t kL2Weights = 128 * 1024;
constexpr size_t kCacheLine = 64;

struct GemmSchedule {
  RowTiles row_tiles;
  // All rows are one tile, so that each weight is read once and memory bandwidth is the bound. The
  // panels of a tile are then far apart, and each is the beginning of a stream of its own: a core
  // reads two streams 1.3 x as fast as one, and four 1.4 x. There is no explicit prefetch, which
  // would only compete with these.
  bool is_streaming;
  size_t block_panels;
  // Weights of the next block are prefetched into L2 while this one is multiplied, spread over all
  // steps of k so that memory is busy as long as the arithmetic is: every `prefetch_interval` steps
  // a tile prefetches the next `prefetch_bytes` for each of its panels, a cache line at most.
  bool is_prefetching;
  size_t prefetch_interval;
  size_t prefetch_bytes;
};

// Returns the schedule of a product of [rows][depth] with `panels` panels of weights whose elements
// have `element_bytes`. With `has_next` the panels of another product follow.
// `can_prefetch_each_step` says that unrolled tiles exist that prefetch at every step.
[[gnu::always_inline]] constexpr GemmSchedule schedule_gemm(const TileShape& tile, size_t rows,
                                                            size_t depth, size_t panels,
                                                            size_t element_bytes, bool has_next,
                                                            bool can_prefetch_each_step) {
  const RowTiles row_tiles(rows, tile.mr);
  const bool one_tile = row_tiles.count == 1;
  // The arithmetic of few rows takes less time than their weights take to arrive, so the prefetch
  // must be a line at each step.
  const bool each_step =
      tile.nr_panels > 1 || (can_prefetch_each_step && row_tiles.count < tile.unroll);
  const size_t interval = each_step ? 1 : tile.unroll;
  const size_t step_bytes = kPanelWidth * element_bytes;
  const size_t weight_bytes = panels * depth * step_bytes;
  return {.row_tiles = row_tiles,
          .is_streaming = one_tile && wide_panels(tile, rows) > 1,
          .block_panels = one_tile                ? 1
                          : depth <= kDeepProduct ? kShallowBlockPanels
                                                  : tile.nr_panels,
          .is_prefetching = has_next || weight_bytes > kL2Weights,
          .prefetch_interval = interval,
          .prefetch_bytes = (interval * step_bytes + row_tiles.count - 1) / row_tiles.count};
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_GEMM_SCHEDULE_H_
