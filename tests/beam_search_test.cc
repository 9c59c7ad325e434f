// Beam search over made-up words: order, ties, length penalty, the pool of captions that are done.
#include "models/beam_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lightcap::internal {
namespace {

constexpr uint32_t kEnd = 0, kA = 1, kB = 2, kC = 3;
constexpr size_t kSlots = 6, kVocabulary = 4;
constexpr float kNever = -std::numeric_limits<float>::infinity();

using Tokens = std::vector<uint32_t>;

class Beams : public ::testing::Test {
 protected:
  void start(size_t beams, double length_penalty = 0) { search_.start(beams, length_penalty); }
  // One row of words for every beam that is live.
  void grow(const std::vector<std::vector<ScoredToken>>& words) {
    ASSERT_EQ(words.size(), search_.live());
    std::vector<ScoredToken> all;
    for (const auto& row : words) all.insert(all.end(), row.begin(), row.end());
    search_.grow(all.data(), words[0].size(), {});
  }
  void expect_live(const std::vector<Tokens>& expected) {
    ASSERT_EQ(search_.live(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(search_.beam(i).tokens, expected[i]);
  }
  void expect_parents(const Tokens& expected) {
    EXPECT_EQ(Tokens(search_.parents(), search_.parents() + search_.live()), expected);
  }

  BeamSearch search_{3, kSlots, kEnd, kVocabulary};
};

TEST_F(Beams, TheBestContinuationsOfAllBeamsLiveOn) {
  start(2);
  grow({{{kA, -1}, {kB, -2}, {kC, -3}}});
  expect_live({{kA}, {kB}});
  expect_parents({0, 0});
  grow({{{kA, -5}, {kB, -6}, {kC, -7}}, {{kC, -1}, {kA, -3.5}, {kB, -9}}});
  expect_live({{kB, kC}, {kB, kA}});
  expect_parents({1, 1});
  EXPECT_EQ(search_.beam(0).sum, -3);
  EXPECT_EQ(search_.beam(1).sum, -5.5);
}

TEST_F(Beams, OfEqualSumsTheLowerBeamThenTheLowerWordComesFirst) {
  start(3);
  grow({{{kC, -1}, {kB, -1}, {kA, -1}}});
  expect_live({{kA}, {kB}, {kC}});
  grow({{{kC, -2}, {kB, -2}}, {{kC, -2}, {kA, -2}}, {{kA, -2}, {kB, -2}}});
  expect_live({{kA, kB}, {kA, kC}, {kB, kA}});
  expect_parents({0, 0, 1});
}

TEST_F(Beams, ACaptionThatEndsLeavesItsPlaceToTheNextBest) {
  start(2);
  grow({{{kEnd, -1}, {kA, -2}, {kB, -3}, {kC, -4}}});
  expect_live({{kA}, {kB}});
  const Hypothesis& best = search_.finish().front();
  EXPECT_EQ(best.tokens, Tokens{kEnd});
  EXPECT_EQ(best.sum, -1);
}

TEST_F(Beams, OnlyTheBestTwiceAsManyAsThereAreBeamsAreLookedAt) {
  start(1);
  grow({{{kA, -1}, {kB, -2}, {kEnd, -3}}});
  expect_live({{kA}});
  grow({{{kEnd, -9}, {kA, -9.5}, {kB, -10}}});
  EXPECT_TRUE(search_.hopeless());
  // The end that was third at the first step, with a sum of -3, is not in the pool.
  EXPECT_EQ(search_.finish().front().tokens, (Tokens{kA, kEnd}));
}

TEST_F(Beams, ThePoolKeepsTheBestAndOfEqualsTheEarlier) {
  start(2);
  grow({{{kEnd, -3}, {kA, -1}, {kB, -1.5}, {kC, -9}}});
  grow({{{kEnd, -2}, {kA, -0.5}}, {{kEnd, -1.5}, {kC, -0.5}}});  // both end with a sum of -3
  EXPECT_FALSE(search_.hopeless());                              // live ones are better
  expect_live({{kA, kA}, {kB, kC}});
  EXPECT_EQ(search_.finish().front().tokens, (Tokens{kA, kA}));

  start(2);
  grow({{{kEnd, -3}, {kA, -1}, {kB, -1.5}, {kC, -9}}});
  grow({{{kEnd, -2}, {kA, -8}}, {{kEnd, -1.5}, {kC, -8}}});
  EXPECT_TRUE(search_.hopeless());
  EXPECT_EQ(search_.finish().front().tokens, Tokens{kEnd});
}

TEST_F(Beams, ALengthPenaltyFavoursLongCaptions) {
  for (const double alpha : {0.0, 1.0, 2.0}) {
    start(2, alpha);
    grow({{{kEnd, -1}, {kA, -1.25}, {kB, -5}, {kC, -6}}});
    grow({{{kEnd, -0.25}, {kA, -9}}, {{kEnd, -9}, {kA, -9}}});
    const Hypothesis& best = search_.finish().front();
    // -1 against -1.5 / 2^alpha.
    EXPECT_EQ(best.tokens, alpha == 0 ? Tokens{kEnd} : (Tokens{kA, kEnd})) << alpha;
    EXPECT_EQ(best.score, alpha == 0 ? -1 : -1.5 / std::pow(2, alpha));
  }
}

TEST_F(Beams, ABeamThatMayStillWinKeepsTheSearchAlive) {
  start(1, 1);
  grow({{{kEnd, -1}, {kA, -0.5}}});
  EXPECT_FALSE(search_.hopeless());
  grow({{{kA, -1}, {kB, -2}}});
  EXPECT_FALSE(search_.hopeless());  // -1.5 / 2 > -1
  grow({{{kA, -1.5}, {kB, -2}}});
  EXPECT_TRUE(search_.hopeless());  // -3 / 3 is no better
}

TEST_F(Beams, WithoutRoomLiveBeamsCountAsDone) {
  start(2, 1);
  grow({{{kA, -1}, {kB, -2}}});
  const Hypothesis& best = search_.finish().front();
  EXPECT_EQ(best.tokens, Tokens{kA});
  EXPECT_EQ(best.score, -1);
  EXPECT_EQ(search_.live(), 0u);
}

TEST_F(Beams, ImpossibleWordsAreLeftOut) {
  start(2);
  grow({{{kA, -1}, {kVocabulary, -1}, {kB, kNever}, {kC, std::nanf("")}}});
  expect_live({{kA}});
}

TEST_F(Beams, ASearchForgetsTheOneBefore) {
  start(3);
  grow({{{kEnd, -0.1f}, {kA, -1}, {kB, -2}}});
  search_.finish();
  start(2);
  expect_live({{}});
  grow({{{kEnd, -4}, {kA, -5}}});
  EXPECT_EQ(search_.finish().front().sum, -4);
}

}  // namespace
}  // namespace lightcap::internal
