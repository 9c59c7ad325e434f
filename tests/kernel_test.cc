// Every kernel of kernels.def on every instruction set of this CPU, against the plain reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {
namespace {

class KernelTest : public ::testing::TestWithParam<KernelRow> {};

TEST_P(KernelTest, EqualsReferenceOnEveryIsa) {
  const std::vector<CaseFactory> cases = GetParam().cases();
  ASSERT_FALSE(cases.empty());
  for (const CaseFactory& factory : cases) {
    const std::unique_ptr<KernelCase> problem = factory.make();
    problem->run_reference();
    for (size_t i = 0; i < isa_count(); ++i) {
      if (!isa_supported(isa_at(i)) || !GetParam().is_in(*isa_at(i).own)) continue;
      problem->run(*isa_at(i).table);
      EXPECT_EQ(problem->compare(), "") << isa_at(i).name << ": " << factory.name;
    }
    if (HasFailure()) return;  // one case's words are enough
  }
}

TEST(KernelTables, SayHowTallTheirTilesAre) {
  for (size_t i = 0; i < isa_count(); ++i) {
    EXPECT_GE(isa_at(i).table->tile_rows, 1u) << isa_at(i).name;
    EXPECT_LE(isa_at(i).table->tile_rows, kMaxTileRows) << isa_at(i).name;
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, KernelTest, ::testing::ValuesIn(kernel_rows()),
                         [](const auto& row) { return std::string(row.param.name); });

// A contract of kernels.h: a value does not depend on how the caller split the work. Calls of 1 to
// 25 rows or pixels cover every tile height and its remainders.
constexpr size_t kMaxSplit = 2 * kMaxTileRows + 1;

std::vector<float> random_floats(size_t count, Random& random) {
  std::vector<float> data(count);
  random.fill(data.data(), 1, count, count);
  return data;
}

// Runs `part(begin, count, output)` over [0, total) in one call and in calls of every size, for
// every instruction set. `part` writes its share of `floats` floats at output.
template <class Part>
void expect_splits_equal(size_t total, size_t floats, const Part& part) {
  for (size_t i = 0; i < isa_count(); ++i) {
    if (!isa_supported(isa_at(i))) continue;
    std::vector<float> whole(floats, -1.0f);
    part(*isa_at(i).table, 0, total, whole.data());
    for (size_t size = 1; size <= kMaxSplit; ++size) {
      std::vector<float> split(floats, -2.0f);
      for (size_t begin = 0; begin < total; begin += size) {
        part(*isa_at(i).table, begin, std::min(size, total - begin), split.data());
      }
      EXPECT_EQ(std::memcmp(split.data(), whole.data(), floats * sizeof(float)), 0)
          << isa_at(i).name << ", " << size << " at a time";
    }
  }
}

TEST(Splits, GemmRowsAreBitIdentical) {
  constexpr size_t kRows = 53, kDepth = 37, kColumns = 45;
  Random random(1);
  const std::vector<float> a = random_floats(kRows * kDepth, random);
  const std::vector<float> bias = random_floats(kColumns, random);
  const RandomWeights weights(kColumns, kDepth, random);
  Epilogue epilogue;
  epilogue.bias = bias.data();
  epilogue.activation = Activation::kGelu;
  expect_splits_equal(kRows, kRows * kColumns,
                      [&](const KernelTable& kernels, size_t begin, size_t rows, float* c) {
                        kernels.gemm({.a = a.data() + begin * kDepth,
                                      .a_stride = kDepth,
                                      .weights = weights.matrix(),
                                      .c = c + begin * kColumns,
                                      .c_stride = kColumns,
                                      .rows = rows,
                                      .epilogue = epilogue});
                      });
}

TEST(Splits, ConvPixelsAreBitIdentical) {
  constexpr size_t kHeight = 9, kWidth = 7, kChannels = 5, kKernel = 3, kColumns = 45;
  constexpr size_t kPixels = kHeight * kWidth, kDepth = kKernel * kKernel * kChannels;
  Random random(2);
  const std::vector<float> input = random_floats(kPixels * kChannels, random);
  const std::vector<float> bias = random_floats(kColumns, random);
  const RandomWeights weights(kColumns, kDepth, random);
  ConvArgs args = {};
  args.input = input.data();
  args.input_row_stride = kWidth * kChannels;
  args.input_pixel_stride = args.channels = kChannels;
  args.height = kHeight;
  args.width = args.output_width = kWidth;
  args.kernel_height = args.kernel_width = kKernel;
  args.stride = args.padding = 1;
  args.weights = weights.matrix();
  args.output_pixel_stride = kColumns;
  args.epilogue.bias = bias.data();
  args.epilogue.activation = Activation::kSilu;
  expect_splits_equal(kPixels, kPixels * kColumns,
                      [&](const KernelTable& kernels, size_t begin, size_t pixels, float* output) {
                        args.output = output;
                        args.first_pixel = begin;
                        args.pixels = pixels;
                        kernels.conv(args);
                      });
}

TEST(Splits, HeadRowsAreBitIdentical) {
  constexpr size_t kRows = 53, kDepth = 37, kWords = 45;
  Random random(3);
  const std::vector<float> z = random_floats(kRows * kDepth, random);
  const std::vector<float> bias = random_floats(kWords, random);
  const RandomWeights weights(kWords, kDepth, random);
  // Logits, then the maxima, then the sums of exponentials.
  expect_splits_equal(kRows, kRows * (kWords + 2),
                      [&](const KernelTable& kernels, size_t begin, size_t rows, float* output) {
                        float* maximum = output + kRows * kWords;
                        kernels.head_logits({.z = z.data() + begin * kDepth,
                                             .z_stride = kDepth,
                                             .weights = weights.matrix(),
                                             .bias = bias.data(),
                                             .logits = output + begin * kWords,
                                             .logits_stride = kWords,
                                             .maximum = maximum + begin,
                                             .exp_sum = maximum + kRows + begin,
                                             .rows = rows});
                      });
}

// Every half there is, widened by a product with 1: the loads of weights are exact.
TEST(NarrowWeights, AreWidenedExactly) {
  constexpr size_t kHalves = 65536;
  std::vector<float> memory(kHalves / 2 + 16);
  void* aligned = memory.data();
  size_t space = memory.size() * sizeof(float);
  std::align(64, kHalves * 2, aligned, space);
  auto* halves = static_cast<uint16_t*>(aligned);
  for (size_t i = 0; i < kHalves; ++i) halves[i] = static_cast<uint16_t>(i);
  const float one = 1.0f;
  std::vector<float> widened(kHalves);
  for (size_t i = 0; i < isa_count(); ++i) {
    if (!isa_supported(isa_at(i))) continue;
    for (const DataType type : {DataType::kF16, DataType::kBf16}) {
      isa_at(i).table->gemm({.a = &one,
                             .a_stride = 1,
                             .weights = {halves, kHalves, 1, type},
                             .c = widened.data(),
                             .c_stride = kHalves,
                             .rows = 1,
                             .epilogue = {}});
      for (size_t half = 0; half < kHalves; ++half) {
        const auto bits = static_cast<uint16_t>(half);
        const float expected = type == DataType::kF16 ? widen_f16(bits) : widen_bf16(bits);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(widened[half])) << isa_at(i).name << ": " << half;
        } else {
          ASSERT_EQ(widened[half], expected) << isa_at(i).name << ": " << half;
        }
      }
    }
  }
}

TEST(NarrowWeights, GiveTheBitsOfWidenedOnes) {
  constexpr size_t kRows = 26, kDepth = 61, kColumns = 70;
  Random random(4);
  const std::vector<float> a = random_floats(kRows * kDepth, random);
  for (const DataType type : {DataType::kF16, DataType::kBf16}) {
    const RandomWeights narrow(kColumns, kDepth, random, type);
    const std::vector<float> panels = narrow.widened();
    std::vector<float> memory(panels.size() + 16);
    void* aligned = memory.data();
    size_t space = memory.size() * sizeof(float);
    std::align(64, panels.size() * sizeof(float), aligned, space);
    std::copy(panels.begin(), panels.end(), static_cast<float*>(aligned));
    const PackedMatrix wide = {aligned, kColumns, kDepth, DataType::kF32};
    for (size_t i = 0; i < isa_count(); ++i) {
      if (!isa_supported(isa_at(i))) continue;
      for (size_t rows = 1; rows <= kRows; ++rows) {
        std::vector<float> c(2 * rows * kColumns);
        for (const bool is_narrow : {true, false}) {
          isa_at(i).table->gemm({.a = a.data(),
                                 .a_stride = kDepth,
                                 .weights = is_narrow ? narrow.matrix() : wide,
                                 .c = c.data() + (is_narrow ? 0 : rows * kColumns),
                                 .c_stride = kColumns,
                                 .rows = rows,
                                 .epilogue = {.activation = Activation::kSilu}});
        }
        ASSERT_EQ(
            std::memcmp(c.data(), c.data() + rows * kColumns, rows * kColumns * sizeof(float)), 0)
            << isa_at(i).name << ", " << data_type_name(type) << ", " << rows << " rows";
      }
    }
  }
}

// NaN is outside top_k's contract, but comes from a damaged model: it may spoil the answer, not
// memory.
TEST(TopK, StaysInsideWhateverIsNaN) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 0; i < isa_count(); ++i) {
    if (!isa_supported(isa_at(i))) continue;
    for (size_t count = 1; count <= 70; ++count) {
      for (uint32_t kind = 0; kind < 3; ++kind) {  // all NaN, half, all but one
        Random random(count);
        GuardedFloats x(count);
        for (size_t j = 0; j < count; ++j) {
          const bool is_nan = kind == 0 || (kind == 1 ? random.bits() % 2 == 0 : j != count / 2);
          x[j] = is_nan ? kNaN : random.uniform();
        }
        const size_t k = std::min<size_t>(count, 20);
        GuardedFloats values(k);
        std::vector<uint32_t> indices(k, UINT32_MAX);
        isa_at(i).table->top_k({x.data(), count, k, values.data(), indices.data()});
        for (const uint32_t index : indices) {
          ASSERT_LT(index, count) << isa_at(i).name << ", kind " << kind;
        }
      }
    }
  }
}

// The comparator must be able to fail, or every test above is worth nothing.
TEST(Comparator, SeesErrorsBiasesAndNaN) {
  const std::vector<float> expected(2000, 1.0f);
  std::vector<float> actual = expected;
  const auto bound = [](size_t, size_t) { return 1e-3; };
  const auto compare = [&] {
    return compare_floats({actual.data(), 50, expected.data(), 50, 40, 50}, bound);
  };
  EXPECT_EQ(compare(), "");
  actual[777] = 1.002f;
  EXPECT_NE(compare().find("[15][27]"), std::string::npos) << compare();
  actual[777] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(compare(), "");
  for (float& value : actual) value = 1.0005f;  // each within its bound
  EXPECT_NE(compare().find("biased"), std::string::npos) << compare();
}

TEST(Comparator, SeesWritesIntoGaps) {
  std::vector<float> data(30, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(check_gaps(data.data(), 3, 7, 10), "");
  data[18] = 0.0f;
  EXPECT_NE(check_gaps(data.data(), 3, 7, 10), "");
}

TEST(GuardedFloatsDeathTest, OneFloatTooFarCrashes) {
  GuardedFloats end(5);
  EXPECT_DEATH(static_cast<volatile float*>(end.data())[5] = 0.0f, "");
  GuardedFloats begin(5, GuardedFloats::Fence::kBegin);
  EXPECT_DEATH(static_cast<volatile float*>(begin.data())[-1] = 0.0f, "");
}

}  // namespace
}  // namespace lightcap::internal::testing
