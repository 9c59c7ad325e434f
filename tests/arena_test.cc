#include "engine/runtime/arena.h"

#include <gtest/gtest.h>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

// A graph of two stages that share memory.
void use(Arena& arena) {
  const Arena::Scope outer(arena);
  arena.floats(100);
  {
    const Arena::Scope first(arena);
    arena.matrix(10, 1024);
  }
  const Arena::Scope second(arena);
  arena.tensor(4, 4, 30);
}

TEST(Arena, PlanIsThePeakOfTheSameRun) {
  Arena arena;
  EXPECT_TRUE(arena.planning());
  use(arena);
  // 100 floats in 64-byte lines, and the larger of the two stages.
  EXPECT_EQ(arena.peak_bytes(), 448 + 10 * (1024 + 16) * sizeof(float));
  arena.allocate();
  EXPECT_FALSE(arena.planning());
  for (int run = 0; run < 3; ++run) use(arena);
}

TEST(Arena, AskingForMoreThanPlannedIsAnError) {
  Arena arena;
  arena.floats(64);
  arena.allocate();
  arena.floats(32);
  EXPECT_THROW(arena.floats(33), Error);
  arena.floats(32);  // what was refused took nothing
}

TEST(Arena, APlanAboveTheLimitEndsThere) {
  Arena arena(1024);
  arena.floats(128);
  EXPECT_NO_THROW(arena.floats(128));
  EXPECT_THROW(arena.bytes(1), ArenaLimitExceeded);
  EXPECT_GT(arena.peak_bytes(), 1024u);
  arena.restart();
  EXPECT_EQ(arena.peak_bytes(), 0u);
  EXPECT_NO_THROW(arena.bytes(1024));
  EXPECT_THROW(arena.bytes(SIZE_MAX), ArenaLimitExceeded);  // sums that overflow are no way around
}

TEST(Arena, MemoryIsAlignedAndWritable) {
  Arena arena;
  for (int i = 0; i < 4; ++i) arena.floats(17);
  arena.allocate();
  for (int i = 0; i < 4; ++i) {
    float* data = arena.floats(17);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    for (int k = 0; k < 17; ++k) data[k] = 1;
  }
}

TEST(Arena, StridesAvoidMultiplesOf4KiB) {
  for (const size_t columns : {1u, 312u, 1023u, 1024u, 2048u, 4096u}) {
    Arena arena;
    const Matrix matrix = arena.matrix(2, columns);
    EXPECT_NE(matrix.stride % 1024, 0u) << columns;
    EXPECT_LE(matrix.stride, columns + 16);
  }
}

}  // namespace
}  // namespace lightcap::internal
