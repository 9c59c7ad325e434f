// How products are cut into register tiles, for the tiles of every instruction set.
#include "kernels/gemm_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lightcap::internal {
namespace {

constexpr TileShape kAvx512 = {.mr = 12, .nr_panels = 2, .unroll = 1};
constexpr TileShape kAvx2 = {.mr = 6, .nr_panels = 1, .unroll = 4};
constexpr TileShape kSse2 = {.mr = 3, .nr_panels = 1, .unroll = 1};
constexpr TileShape kAll[] = {kAvx512, kAvx2, kSse2};

GemmSchedule schedule(const TileShape& tile, size_t rows, size_t depth, size_t panels) {
  return schedule_gemm(tile, rows, depth, panels, sizeof(float), false, true);
}

TEST(RowTiles, AreOfNearlyEqualHeightAndCoverAllRows) {
  for (const TileShape& tile : kAll) {
    for (size_t rows = 1; rows <= 100; ++rows) {
      const RowTiles tiles(rows, tile.mr);
      EXPECT_EQ(tiles.count, (rows + tile.mr - 1) / tile.mr);
      size_t covered = 0;
      for (size_t t = 0; t < tiles.count; ++t) {
        EXPECT_LE(tiles.rows(t), tile.mr);
        EXPECT_GE(tiles.rows(t) + 1, tiles.rows(0));
        covered += tiles.rows(t);
      }
      EXPECT_EQ(covered, rows);
    }
  }
}

TEST(WidePanels, FillTheRegistersOfAFullTile) {
  EXPECT_EQ(wide_panels(kAvx512, 12), 2u);
  EXPECT_EQ(wide_panels(kAvx512, 3), 4u);
  EXPECT_EQ(wide_panels(kAvx2, 6), 1u);
  EXPECT_EQ(wide_panels(kAvx2, 3), 2u);
  EXPECT_EQ(wide_panels(kAvx2, 1), 4u);
  for (const TileShape& tile : kAll) {
    for (size_t rows = 1; rows <= tile.mr; ++rows)
      EXPECT_LE(wide_panels(tile, rows) * rows, tile.mr * tile.nr_panels);
  }
}

TEST(GemmSchedule, StreamsWhereWeightsPassOnce) {
  EXPECT_TRUE(schedule(kAvx2, 3, 312, 75).is_streaming);
  EXPECT_FALSE(schedule(kAvx2, 6, 312, 75).is_streaming);    // one tile, one panel wide
  EXPECT_FALSE(schedule(kAvx2, 7, 312, 75).is_streaming);    // two tiles
  EXPECT_TRUE(schedule(kAvx512, 12, 312, 75).is_streaming);  // one tile, two panels wide
}

TEST(GemmSchedule, DeepProductsLeaveRoomInL2ForTheirRows) {
  EXPECT_EQ(schedule(kAvx2, 96, 512, 16).block_panels, kShallowBlockPanels);
  EXPECT_EQ(schedule(kAvx2, 96, 2304, 16).block_panels, 1u);
  EXPECT_EQ(schedule(kAvx512, 96, 2304, 16).block_panels, 2u);
}

TEST(GemmSchedule, PrefetchesOnlyWeightsThatL2DoesNotHold) {
  EXPECT_FALSE(schedule(kAvx2, 96, 64, 4).is_prefetching);
  EXPECT_TRUE(schedule(kAvx2, 96, 1024, 16).is_prefetching);
  // Half as many bytes stay in L2 where twice as many floats would not.
  EXPECT_TRUE(schedule_gemm(kAvx2, 96, 256, 12, 4, false, true).is_prefetching);
  EXPECT_FALSE(schedule_gemm(kAvx2, 96, 256, 12, 2, false, true).is_prefetching);
  EXPECT_TRUE(schedule_gemm(kAvx2, 96, 64, 4, 4, true, true).is_prefetching);
}

// All tiles of a block together prefetch at least the block's size while they run, so that the next
// block, which is no larger, has arrived.
TEST(GemmSchedule, TilesOfABlockPrefetchTheNextBlock) {
  for (const TileShape& tile : kAll) {
    for (const size_t rows : {13u, 49u, 96u}) {
      for (const size_t depth : {64u, 512u, 2304u}) {
        const GemmSchedule plan = schedule(tile, rows, depth, 16);
        const size_t each =
            depth / plan.prefetch_interval * std::min(plan.prefetch_bytes, kCacheLine);
        EXPECT_GE(plan.row_tiles.count * each, depth * kPanelWidth * sizeof(float))
            << rows << " x " << depth;
      }
    }
  }
}

}  // namespace
}  // namespace lightcap::internal
