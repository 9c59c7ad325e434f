// Cutting an operation into tasks: pieces cover all of it once, in order, in whole units.
#include "engine/runtime/split.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include <limits>

namespace lightcap::internal {
namespace {

// Calls `check` with every split of small totals, units and numbers of pieces.
template <class Check>
void for_small_splits(const Check& check) {
  for (size_t total = 0; total <= 40; ++total) {
    for (const size_t unit : std::initializer_list<size_t>{1, 2, 3, 8, 12, 16, 41}) {
      for (size_t pieces = 0; pieces <= 45; ++pieces) {
        SCOPED_TRACE(testing::Message() << total << " in units of " << unit << ", " << pieces);
        check(split(total, unit, pieces));
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(Split, PiecesCoverTheTotalOnceAndInOrder) {
  for_small_splits([](const Split& split) {
    size_t next = 0;
    for (size_t i = 0; i < split.pieces; ++i) {
      EXPECT_EQ(split[i].begin, next);
      EXPECT_EQ(split.begin(i), next);
      next += split[i].count;
    }
    EXPECT_EQ(next, split.total);
  });
}

TEST(Split, NoPieceIsEmptyAndAllButTheLastAreWholeUnits) {
  for_small_splits([](const Split& split) {
    for (size_t i = 0; i < split.pieces; ++i) {
      EXPECT_GT(split[i].count, 0u);
      EXPECT_EQ(split[i].begin % split.unit, 0u);
      EXPECT_TRUE(i + 1 == split.pieces || split[i].count % split.unit == 0);
    }
  });
}

TEST(Split, PiecesDifferByOneUnitAtMostAndNoneIsLargerThanLargest) {
  for_small_splits([](const Split& split) {
    if (split.pieces == 0) {
      EXPECT_EQ(split.total, 0u);
      EXPECT_EQ(split.largest(), 0u);
      return;
    }
    size_t fewest = std::numeric_limits<size_t>::max(), most = 0, longest = 0;
    for (size_t i = 0; i < split.pieces; ++i) {
      const size_t units = ceil_div(split[i].count, split.unit);
      fewest = std::min(fewest, units);
      most = std::max(most, units);
      longest = std::max(longest, split[i].count);
    }
    EXPECT_LE(most - fewest, 1u);
    // The partial unit at the end may be in a piece that has most units, hence "at most".
    EXPECT_LE(longest, split.largest());
    EXPECT_LT(split.largest() - longest, split.unit);
  });
}

TEST(Split, AsManyPiecesAsAskedForWhereThereAreUnitsForThem) {
  EXPECT_EQ(split(100, 1, 7).pieces, 7u);
  EXPECT_EQ(split(100, 16, 7).pieces, 7u);
  EXPECT_EQ(split(96, 16, 7).pieces, 6u);
  EXPECT_EQ(split(5, 16, 7).pieces, 1u);
}

TEST(Split, NothingMakesNoPieces) {
  EXPECT_EQ(split(0, 16, 7).pieces, 0u);
  EXPECT_EQ(split(0, 1, 0).pieces, 0u);
}

TEST(Split, AskedForNoPiecesThereIsOne) {
  EXPECT_EQ(split(30, 4, 0).pieces, 1u);
  EXPECT_EQ(split(30, 4, 0)[0].count, 30u);
}

TEST(CeilDiv, RoundsUp) {
  static_assert(ceil_div(0, 5) == 0);
  static_assert(ceil_div(1, 5) == 1);
  static_assert(ceil_div(5, 5) == 1);
  static_assert(ceil_div(6, 5) == 2);
}

}  // namespace
}  // namespace lightcap::internal
