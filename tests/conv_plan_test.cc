// A session's choice of the convolutions that Winograd's filtering computes.
#include "engine/runtime/conv_plan.h"

#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <vector>

#include "engine/runtime/ops.h"
#include "kernels/dispatch.h"
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

TEST_F(ConvPlanTest, NarrowWeightsInTilesOf2AreTransformedAnewBeyondTheBudget) {
  const Conv &narrow = see(15, 1, 3, DataType::kBf16), &larger = see(16, 1, 3, DataType::kF16),
             &wide = see(15);
  ConvPlan all = plan_, none = plan_;
  all.choose(cache_, kAnyBudget);
  for (const Conv* conv : {&narrow, &larger, &wide}) EXPECT_TRUE(all.winograd(*conv)->is_kept());
  none.choose(cache_, 0);
  ASSERT_NE(none.winograd(narrow), nullptr);
  EXPECT_EQ(none.winograd(narrow)->tile(), 2u);
  EXPECT_FALSE(none.winograd(narrow)->is_kept());
  for (const Conv* conv : {&larger, &wide}) EXPECT_EQ(none.winograd(*conv), nullptr);
  EXPECT_EQ(none.extra_bytes(), 0u);
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

// The output of a convolution by Winograd's filtering with weights [out][9 * in], over a picture of
// several rows of tiles.
std::vector<float> filtered(const KernelTable& kernels, const PackedMatrix& weights, bool is_kept) {
  constexpr size_t kHeight = 14, kWidth = 15;
  const Conv conv = {
      .weights = weights, .in = weights.depth / 9, .kernel = 3, .stride = 1, .padding = 1};
  ThreadPool pool(2);
  WinogradCache cache{nullptr};
  ConvPlan plan;
  plan.see(conv, kHeight, kWidth);
  plan.choose(cache, is_kept ? kAnyBudget : 0);
  plan.prepare(pool);
  EXPECT_EQ(plan.winograd(conv)->is_kept(), is_kept);
  Arena arena;
  const Runtime runtime = {kernels, pool, arena, &plan};
  std::vector<float> result;
  for (const bool planning : {true, false}) {
    const Arena::Scope scope(arena);
    const Tensor input = arena.tensor(kHeight, kWidth, conv.in);
    const Tensor output = arena.tensor(kHeight, kWidth, conv.out());
    for (size_t i = 0; !planning && i < kHeight * kWidth * conv.in; ++i)
      input.data[i] = static_cast<float>(i * i % 251) / 251 - 0.5f;
    conv2d(runtime, conv, input, output);
    if (!planning) result.assign(output.data, output.data + kHeight * kWidth * conv.out());
    if (planning) arena.allocate();
  }
  return result;
}

TEST(WinogradConv, NarrowWeightsGiveTheBitsOfWidenedOnes) {
  constexpr size_t kIn = 20, kOut = 37, kElements = panel_elements(kOut, 9 * kIn);
  const Block narrow = allocate_block(kElements * sizeof(uint16_t));
  const Block wide = allocate_block(kElements * sizeof(float));
  for (const DataType type : {DataType::kF16, DataType::kBf16}) {
    for (size_t i = 0; i < kElements; ++i) {
      // Both signs, two exponents and all bits of the mantissa.
      const size_t bits = i * 40503 % 65536;
      const size_t half =
          type == DataType::kF16 ? (bits & 0x87ff) | 0x3000 : (bits & 0x80ff) | 0x3e00;
      static_cast<uint16_t*>(narrow.get())[i] = static_cast<uint16_t>(half);
      static_cast<float*>(wide.get())[i] = widened(narrow.get(), type, i);
    }
    for (size_t i = 0; i < isa_count(); ++i) {
      if (!isa_supported(isa_at(i))) continue;
      const KernelTable& kernels = *find_kernels(isa_at(i).name);
      const auto actual = filtered(kernels, {narrow.get(), kOut, 9 * kIn, type}, false);
      const auto expected = filtered(kernels, {wide.get(), kOut, 9 * kIn}, true);
      EXPECT_EQ(actual, expected) << kernels.isa << " " << data_type_name(type);
    }
  }
}

}  // namespace
}  // namespace lightcap::internal
