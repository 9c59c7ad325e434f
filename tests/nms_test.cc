// Overlaps of boxes, and which boxes are kept.
#include "models/nms.h"

#include <gtest/gtest.h>

#include <vector>

namespace lightcap::internal {
namespace {

constexpr Box kUnit = {0, 0, 10, 10, 0.5f};

// A square of 10 x 10 pixels at x.
BoxCandidate at(float x, float score, uint32_t order) { return {{x, 0, x + 10, 10, score}, order}; }

// The left edges of the boxes that are kept.
std::vector<float> kept(std::vector<BoxCandidate> candidates, float threshold, size_t most) {
  std::vector<Box> boxes(most);
  boxes.resize(
      suppress_overlaps(candidates.data(), candidates.size(), threshold, most, boxes.data()));
  std::vector<float> edges;
  for (const Box& box : boxes) edges.push_back(box.x1);
  return edges;
}

TEST(Overlap, IsIntersectionOverUnion) {
  EXPECT_EQ(intersection_over_union(kUnit, kUnit), 1);
  EXPECT_EQ(intersection_over_union(kUnit, {5, 0, 15, 10, 0}), 50.0f / 150);
  EXPECT_EQ(intersection_over_union(kUnit, {2, 2, 4, 7, 0}), 10.0f / 100);  // within the other
}

TEST(Overlap, OfBoxesThatTouchOrAreEmptyIsNone) {
  EXPECT_EQ(intersection_over_union(kUnit, {10, 0, 20, 10, 0}), 0);
  EXPECT_EQ(intersection_over_union(kUnit, {20, 20, 30, 30, 0}), 0);
  EXPECT_EQ(intersection_over_union(kUnit, {5, 5, 5, 5, 0}), 0);
  EXPECT_EQ(intersection_over_union({5, 5, 5, 5, 0}, {5, 5, 5, 5, 0}), 0);
}

TEST(Suppression, KeepsTheBestOfThoseThatOverlap) {
  EXPECT_EQ(kept({at(1, 0.5f, 0), at(0, 0.9f, 1), at(100, 0.7f, 2), at(101, 0.8f, 3)}, 0.45f, 9),
            (std::vector<float>{0, 101}));
}

TEST(Suppression, SparesThoseThatOverlapByNoMoreThanTheThreshold) {
  const std::vector<BoxCandidate> third = {at(0, 0.9f, 0), at(5, 0.8f, 1)};
  EXPECT_EQ(kept(third, 50.0f / 150, 9), (std::vector<float>{0, 5}));
  EXPECT_EQ(kept(third, 0.333f, 9), (std::vector<float>{0}));
}

// A box that is suppressed suppresses none: 8 overlaps 4 alone, which 0 has ruled out.
TEST(Suppression, IsByThoseThatAreKept) {
  EXPECT_EQ(kept({at(0, 0.9f, 0), at(4, 0.8f, 1), at(8, 0.7f, 2)}, 0.4f, 9),
            (std::vector<float>{0, 8}));
}

TEST(Suppression, TakesEqualScoresInTheirOrder) {
  EXPECT_EQ(kept({at(40, 0.5f, 2), at(20, 0.5f, 1), at(60, 0.5f, 3), at(0, 0.5f, 0)}, 0.4f, 9),
            (std::vector<float>{0, 20, 40, 60}));
  EXPECT_EQ(kept({at(1, 0.5f, 1), at(0, 0.5f, 0)}, 0.4f, 9), (std::vector<float>{0}));
}

TEST(Suppression, KeepsNoMoreThanAskedFor) {
  const std::vector<BoxCandidate> apart = {at(0, 0.1f, 0), at(20, 0.3f, 1), at(40, 0.2f, 2)};
  EXPECT_EQ(kept(apart, 0.4f, 2), (std::vector<float>{20, 40}));
  EXPECT_EQ(kept(apart, 0.4f, 3), (std::vector<float>{20, 40, 0}));
  EXPECT_EQ(kept({}, 0.4f, 2), (std::vector<float>{}));
}

TEST(Suppression, AtAThresholdOfOneKeepsEvenTwins) {
  EXPECT_EQ(kept({at(0, 0.9f, 0), at(0, 0.9f, 1)}, 1.0f, 9), (std::vector<float>{0, 0}));
}

}  // namespace
}  // namespace lightcap::internal
