// A session's choice of the convolutions that Winograd's filtering computes.
#include "engine/runtime/conv_plan.h"

#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <vector>

#include "engine/runtime/ops.h"
#include "kernels/pack.h"

namespace lightcap::internal {
namespace {

constexpr size_t kChannels = 32;
constexpr size_t kAnyBudget = size_t{1} << 40;

// 3x3 convolutions with weights of their own, each seen by a plan over square pictures.
class ConvPlanTest : public ::testing::Test {
 protected:
  const Conv& see(size_t side, size_t stride = 1, size_t kernel = 3, DataType type = DataType::kF32,
                  size_t channels = kChannels) {
    const size_t depth = kernel * kernel * channels;
    memory_.emplace_back(panel_elements(channels, depth));
    convs_.push_back({.weights = {memory_.back().data(), channels, depth, type},
                      .in = channels,
                      .kernel = kernel,
                      .stride = stride,
                      .padding = kernel / 2});
    plan_.see(convs_.back(), side, side);
    return convs_.back();
  }
  size_t tile(const Conv& conv) const {
    const WinogradWeights* winograd = plan_.winograd(conv);
    return winograd == nullptr ? 0 : winograd->tile();
  }

  std::vector<std::vector<float>> memory_;
  std::list<Conv> convs_;
  WinogradCache cache_{nullptr};
  ConvPlan plan_;
};

TEST_F(ConvPlanTest, TilesGrowWithThePicture) {
  const Conv &at13 = see(13), &at14 = see(14), &at15 = see(15), &at16 = see(16);
  plan_.choose(cache_, kAnyBudget);
  EXPECT_EQ(tile(at13), 0u);
  EXPECT_EQ(tile(at14), 2u);
  EXPECT_EQ(tile(at15), 2u);
  EXPECT_EQ(tile(at16), 4u);
}

TEST_F(ConvPlanTest, OthersThan3x3OfStride1AreDirect) {
  const Conv &strided = see(56, 2), &pointwise = see(56, 1, 1), &large = see(56, 1, 5);
  plan_.choose(cache_, kAnyBudget);
  for (const Conv* conv : {&strided, &pointwise, &large}) EXPECT_EQ(tile(*conv), 0u);
  EXPECT_EQ(plan_.extra_bytes(), 0u);
}

TEST_F(ConvPlanTest, IntegersAreInTilesOf2AndNeedChannels) {
  const auto see_integers = [&](size_t side, size_t channels) -> const Conv& {
    return see(side, 1, 3, DataType::kI8, channels);
  };
  const Conv &at13 = see_integers(13, 32), &at14 = see_integers(14, 32),
             &at56 = see_integers(56, 32), &few = see_integers(56, 28);
  plan_.choose(cache_, kAnyBudget);
  EXPECT_EQ(tile(at13), 0u);
  EXPECT_EQ(tile(at14), 2u);
  EXPECT_EQ(tile(at56), 2u);
  EXPECT_EQ(tile(few), 0u);
  EXPECT_EQ(plan_.extra_bytes(), 2 * 16 * 32 * 32 * sizeof(int16_t));
}

TEST_F(ConvPlanTest, ABudgetGoesToThoseThatSaveMostForAByte) {
  const Conv &small = see(16), &largest = see(112), &large = see(56);
  ConvPlan all = plan_;
  all.choose(cache_, kAnyBudget);
  const size_t each = all.extra_bytes() / 3;
  plan_.choose(cache_, 2 * each);
  EXPECT_EQ(tile(largest), 4u);
  EXPECT_EQ(tile(large), 4u);
  EXPECT_EQ(tile(small), 0u);
  EXPECT_EQ(plan_.extra_bytes(), 2 * each);
}

TEST_F(ConvPlanTest, SessionsShareTransformedWeightsAndFreeThemTogether) {
  const Conv& conv = see(56);
  {
    ConvPlan first = plan_, second = plan_;
    first.choose(cache_, kAnyBudget);
    second.choose(cache_, kAnyBudget);
    EXPECT_EQ(first.winograd(conv), second.winograd(conv));
  }
  const std::weak_ptr<WinogradWeights> kept = cache_.get(conv.weights, 4);
  EXPECT_TRUE(kept.expired());
}

}  // namespace
}  // namespace lightcap::internal
