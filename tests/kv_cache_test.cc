// Caches of keys and values: where a slot lies, and what beams keep when they are reordered.
#include "models/kv_cache.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/dispatch.h"

namespace lightcap::internal {
namespace {

constexpr size_t kWidth = 6, kHeads = 2, kHeadSize = 3, kSlots = 5, kLayers = 2;

// The value of a slot at k, other for each beam, layer and slot.
float key_at(size_t beam, size_t layer, size_t slot, size_t k) {
  return static_cast<float>(1000 * beam + 100 * layer + 10 * slot + k);
}
float value_at(size_t beam, size_t layer, size_t slot, size_t k) {
  return -key_at(beam, layer, slot, k);
}

void fill(const KeyValueCache& cache, size_t beam, size_t layer, size_t first, size_t count) {
  std::vector<float> keys, values;
  for (size_t slot = first; slot < first + count; ++slot) {
    for (size_t k = 0; k < kWidth; ++k) {
      keys.push_back(key_at(beam, layer, slot, k));
      values.push_back(value_at(beam, layer, slot, k));
    }
  }
  cache.store(first, {keys.data(), count, kWidth, kWidth}, {values.data(), count, kWidth, kWidth});
}

// Every head of `cache` holds what fill() made of the first `slots`.
void expect_holds(const KeyValueCache& cache, size_t beam, size_t layer, size_t slots) {
  for (size_t head = 0; head < kHeads; ++head) {
    const KeyValues seen = cache.head(head, kHeadSize, slots);
    EXPECT_EQ(seen.count, slots);
    for (size_t slot = 0; slot < slots; ++slot) {
      for (size_t d = 0; d < kHeadSize; ++d) {
        const size_t k = head * kHeadSize + d;
        EXPECT_EQ(seen.keys[d * seen.key_stride + slot], key_at(beam, layer, slot, k));
        EXPECT_EQ(seen.values[slot * seen.value_stride + d], value_at(beam, layer, slot, k));
      }
    }
  }
}

class Caches : public ::testing::Test {
 protected:
  // Caches for so many beams, all slots filled.
  void make(size_t beams) {
    captions_.allocate(arena_, beams, kLayers, kSlots, kWidth);
    arena_.allocate();
    captions_.allocate(arena_, beams, kLayers, kSlots, kWidth);
    for (size_t beam = 0; beam < beams; ++beam) {
      for (size_t layer = 0; layer < kLayers; ++layer)
        fill(captions_.at(beam, layer), beam, layer, 0, kSlots);
    }
  }
  void reorder(const std::vector<uint32_t>& parents, size_t slots) {
    captions_.reorder(runtime_, parents.data(), parents.size(), slots);
  }
  void expect_beams(const std::vector<size_t>& origins, size_t slots) {
    for (size_t beam = 0; beam < origins.size(); ++beam) {
      SCOPED_TRACE(beam);
      for (size_t layer = 0; layer < kLayers; ++layer)
        expect_holds(captions_.at(beam, layer), origins[beam], layer, slots);
    }
  }

  ThreadPool pool_{2};
  Arena arena_;
  const Runtime runtime_ = {.kernels = best_kernels(), .pool = pool_, .arena = arena_};
  CaptionCaches captions_;
};

TEST_F(Caches, SlotsAreStoredOneByOneOrSeveralAtOnce) {
  make(1);
  const KeyValueCache& cache = captions_.at(0, 0);
  fill(cache, 7, 3, 0, 1);
  fill(cache, 7, 3, 1, 3);
  expect_holds(cache, 7, 3, 4);
  fill(cache, 8, 3, 4, 1);  // leaves those before as they are
  expect_holds(cache, 7, 3, 4);
}

TEST_F(Caches, ValuesMayBeComputedInPlace) {
  make(1);
  const Matrix values = captions_.at(0, 0).values(2);
  EXPECT_EQ(values.rows, 2u);
  EXPECT_EQ(values.row(1)[4], value_at(0, 0, 1, 4));
}

TEST_F(Caches, BeamsGoOnFromTheirParents) {
  make(3);
  reorder({2, 0, 0}, kSlots);
  expect_beams({2, 0, 0}, kSlots);
  reorder({1, 1, 0}, kSlots);
  expect_beams({0, 0, 2}, kSlots);
}

TEST_F(Caches, AllBeamsThatStayKeepEverything) {
  make(3);
  reorder({0, 1, 2}, 1);
  expect_beams({0, 1, 2}, kSlots);
}

TEST_F(Caches, FewerBeamsThanThereIsRoomForMayLive) {
  make(3);
  reorder({2, 1}, 2);
  expect_beams({2, 1}, 2);
}

TEST_F(Caches, LaterSlotsAreStoredAfterReordering) {
  make(2);
  reorder({1, 0}, 3);
  for (size_t layer = 0; layer < kLayers; ++layer) fill(captions_.at(0, layer), 1, layer, 3, 1);
  expect_beams({1}, 4);
}

}  // namespace
}  // namespace lightcap::internal
