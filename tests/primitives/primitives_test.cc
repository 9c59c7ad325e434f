// The vector primitives of every instruction set of this CPU against their contracts
// (kernels/simd/plain.inl, primitives.inl, activation.inl).
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/data_type.h"
#include "kernels/dispatch.h"
#include "tests/kernels/kernel_case.h"
#include "tests/primitives/primitive_table.h"

namespace lightcap::internal {
namespace testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr size_t kMaxLanes = 16;

// A vector that any instruction set's load and store may touch.
struct Vector {
  alignas(64) float lanes[kMaxLanes] = {};
  float* data() { return lanes; }
  float& operator[](size_t i) { return lanes[i]; }
};

class PrimitivesTest : public ::testing::TestWithParam<const PrimitiveTable*> {};

INSTANTIATE_TEST_SUITE_P(EveryIsa, PrimitivesTest, ::testing::ValuesIn(supported_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

// Floats of every magnitude and sign, subnormal ones among them.
float any_float(Random& random) {
  for (;;) {
    const float x = std::bit_cast<float>(random.bits());
    if (std::isfinite(x)) return x;
  }
}

// Calls check(x, f(x)) for each of `values`, taken a vector at a time.
template <class Check>
void for_each_value(const PrimitiveTable& table, const std::vector<float>& values,
                    void (*f)(const float*, float*), const Check& check) {
  for (size_t i = 0; i < values.size(); i += table.lanes) {
    Vector x, y;
    for (size_t lane = 0; lane < table.lanes; ++lane) x[lane] = values[(i + lane) % values.size()];
    f(x.data(), y.data());
    for (size_t lane = 0; lane < table.lanes; ++lane) {
      ASSERT_NO_FATAL_FAILURE(check(x[lane], y[lane])) << table.isa << ", x = " << x[lane];
    }
  }
}

// [-limit, limit] in many steps, and magnitudes down to subnormal numbers.
std::vector<float> samples(float limit) {
  std::vector<float> values;
  constexpr int kSteps = 20000;
  for (int i = -kSteps; i <= kSteps; ++i) {
    values.push_back(limit * static_cast<float>(i) / static_cast<float>(kSteps));
  }
  for (float x = limit; x > std::numeric_limits<float>::denorm_min(); x *= 0.4f) {
    values.push_back(x);
    values.push_back(-x);
  }
  return values;
}

TEST_P(PrimitivesTest, HaveAsManyLanesAsTheTileNeeds) {
  const PrimitiveTable& table = *GetParam();
  EXPECT_TRUE(table.lanes == 4 || table.lanes == 8 || table.lanes == 16);
  EXPECT_LE(table.tile_rows, kMaxTileRows);
  EXPECT_EQ(table.tile_rows, find_kernels(table.isa)->tile_rows);
  const size_t sums = table.tile_rows * table.tile_panels * (kPanelWidth / table.lanes);
  EXPECT_LT(sums, table.registers) << "no register is left for a factor";
}

// The second operand or NaN where either is NaN: never the first, which would hide that a model's
// weights are damaged behind a limit.
TEST_P(PrimitivesTest, MinAndMaxNeverHideANaNInTheSecondOperand) {
  const PrimitiveTable& table = *GetParam();
  Vector x, y, smaller, larger;
  for (size_t lane = 0; lane < table.lanes; ++lane) {
    x[lane] = lane % 4 == 2 ? kNaN : 1.5f;
    y[lane] = lane % 4 == 1 ? kNaN : lane % 4 == 0 ? -2.0f : 3.0f;
  }
  table.min(x.data(), y.data(), smaller.data());
  table.max(x.data(), y.data(), larger.data());
  for (size_t lane = 0; lane < table.lanes; ++lane) {
    if (std::isnan(y[lane])) {
      EXPECT_TRUE(std::isnan(smaller[lane]) && std::isnan(larger[lane])) << lane;
    } else if (std::isnan(x[lane])) {
      EXPECT_TRUE(smaller[lane] == y[lane] || std::isnan(smaller[lane])) << lane;
      EXPECT_TRUE(larger[lane] == y[lane] || std::isnan(larger[lane])) << lane;
    } else {
      EXPECT_EQ(smaller[lane], std::min(x[lane], y[lane])) << lane;
      EXPECT_EQ(larger[lane], std::max(x[lane], y[lane])) << lane;
    }
  }
}

TEST_P(PrimitivesTest, LoadPartialReadsTheFirstLanesAndNothingElse) {
  const PrimitiveTable& table = *GetParam();
  for (size_t count = 1; count <= table.lanes; ++count) {
    for (const auto fence : {GuardedFloats::Fence::kEnd, GuardedFloats::Fence::kBegin}) {
      GuardedFloats data(count, fence);
      for (size_t i = 0; i < count; ++i) data[i] = static_cast<float>(i) + 0.5f;
      Vector out;
      for (float& lane : out.lanes) lane = -1;
      table.load_partial(data.data(), count, out.data());
      for (size_t i = 0; i < table.lanes; ++i) {
        EXPECT_EQ(out[i], i < count ? data[i] : 0.0f)
            << table.isa << ", " << count << " of lane " << i;
      }
    }
  }
}

TEST_P(PrimitivesTest, StorePartialWritesTheFirstLanesAndNothingElse) {
  const PrimitiveTable& table = *GetParam();
  for (size_t count = 1; count <= table.lanes; ++count) {
    GuardedFloats data(count);  // ends at an unmapped page
    Vector x, around;
    for (size_t i = 0; i < table.lanes; ++i) x[i] = static_cast<float>(i) + 0.5f;
    for (float& lane : around.lanes) lane = -1;
    table.store_partial(data.data(), x.data(), count);
    table.store_partial(around.data(), x.data(), count);
    for (size_t i = 0; i < table.lanes; ++i) {
      if (i < count) {
        EXPECT_EQ(data[i], x[i]) << table.isa;
      }
      EXPECT_EQ(around[i], i < count ? x[i] : -1.0f)
          << table.isa << ", " << count << " of lane " << i;
    }
  }
}

TEST_P(PrimitivesTest, FirstLanesOrReplacesTheOthersEvenIfTheyAreNaN) {
  const PrimitiveTable& table = *GetParam();
  for (const float rest : {0.0f, 2.5f, -kInfinity}) {
    for (size_t count = 1; count <= table.lanes; ++count) {
      Vector x, out;
      for (size_t i = 0; i < table.lanes; ++i) x[i] = i < count ? static_cast<float>(i) : kNaN;
      table.first_lanes_or(x.data(), count, rest, out.data());
      for (size_t i = 0; i < table.lanes; ++i)
        EXPECT_EQ(out[i], i < count ? x[i] : rest) << table.isa;
    }
  }
}

// (1 + d)^2 is 1 + 2 d + d^2, of which a product rounded to float has lost the last.
TEST_P(PrimitivesTest, MultiplyAddRoundsOnceWhereItIsFused) {
  const PrimitiveTable& table = *GetParam();
  Vector x, z, out;
  for (size_t i = 0; i < table.lanes; ++i) {
    x[i] = 1 + 0x1p-12f;
    z[i] = -(1 + 0x1p-11f);
  }
  table.multiply_add(x.data(), x.data(), z.data(), out.data());
  EXPECT_EQ(out[0], table.is_fused ? 0x1p-24f : 0.0f) << table.isa;
}

TEST_P(PrimitivesTest, MultiplyAddAndAddProductHaveTheSameBits) {
  const PrimitiveTable& table = *GetParam();
  Random random(7);
  for (int turn = 0; turn < 2000; ++turn) {
    Vector x, y, z, out, sum;
    for (size_t i = 0; i < table.lanes; ++i) {
      x[i] = random.uniform();
      y[i] = random.uniform();
      // Often near -x y, where a product that was rounded before shows.
      z[i] = turn % 2 == 0 ? -x[i] * y[i] : random.uniform();
    }
    sum = z;
    table.multiply_add(x.data(), y.data(), z.data(), out.data());
    table.add_product(sum.data(), x.data(), y.data());
    for (size_t i = 0; i < table.lanes; ++i) {
      const volatile float product = x[i] * y[i];  // rounded
      const float expected = table.is_fused ? std::fma(x[i], y[i], z[i]) : product + z[i];
      ASSERT_EQ(out[i], expected) << table.isa;
      ASSERT_EQ(sum[i], expected) << table.isa;
    }
  }
}

TEST_P(PrimitivesTest, DivideIsCorrectlyRounded) {
  const PrimitiveTable& table = *GetParam();
  Random random(8);
  for (int turn = 0; turn < 5000; ++turn) {
    Vector x, y, out;
    for (size_t i = 0; i < table.lanes; ++i) {
      x[i] = turn % 2 == 0 ? any_float(random) : random.uniform();
      y[i] = turn % 2 == 0 ? any_float(random) : random.uniform();
    }
    table.divide(x.data(), y.data(), out.data());
    for (size_t i = 0; i < table.lanes; ++i) {
      const float expected = x[i] / y[i];
      if (std::isnan(expected)) continue;  // 0 / 0
      ASSERT_EQ(out[i], expected) << table.isa << ": " << x[i] << " / " << y[i];
    }
  }
}

// True if `out` has the bits that `narrow` widens to; any NaN is as good as another.
bool is_widened(float out, uint16_t narrow, DataType type) {
  const float expected = type == DataType::kF16 ? widen_f16(narrow) : widen_bf16(narrow);
  if (std::isnan(expected)) return std::isnan(out);
  return std::bit_cast<uint32_t>(out) == std::bit_cast<uint32_t>(expected);
}

TEST_P(PrimitivesTest, WidenEveryHalfAndBfloatExactly) {
  const PrimitiveTable& table = *GetParam();
  alignas(64) uint16_t narrow[kMaxLanes] = {};
  for (uint32_t first = 0; first < 65536; first += static_cast<uint32_t>(table.lanes)) {
    for (size_t i = 0; i < table.lanes; ++i) narrow[i] = static_cast<uint16_t>(first + i);
    for (const DataType type : {DataType::kF16, DataType::kBf16}) {
      Vector out;
      (type == DataType::kF16 ? table.load_half : table.load_bfloat)(narrow, out.data());
      for (size_t i = 0; i < table.lanes; ++i)
        ASSERT_TRUE(is_widened(out[i], narrow[i], type)) << table.isa << ": " << narrow[i];
    }
  }
}

TEST_P(PrimitivesTest, WidenAPanelOfBfloatsInTheOrderOfItsOutputs) {
  const PrimitiveTable& table = *GetParam();
  alignas(64) uint16_t panel[kPanelWidth] = {};
  for (uint32_t first = 0; first < 65536; first += kPanelWidth) {
    for (size_t i = 0; i < kPanelWidth; ++i) panel[i] = static_cast<uint16_t>(first + i);
    float out[kPanelWidth];
    table.load_bfloat_panel(panel, out);
    for (size_t i = 0; i < kPanelWidth; ++i)
      ASSERT_TRUE(is_widened(out[i], panel[i], DataType::kBf16)) << table.isa << ": " << panel[i];
  }
}

TEST_P(PrimitivesTest, WidenToDoublesAndBackWithOneRounding) {
  const PrimitiveTable& table = *GetParam();
  Random random(11);
  for (int turn = 0; turn < 200; ++turn) {
    Vector x, out;
    std::array<double, kMaxLanes> doubles = {};
    for (size_t i = 0; i < table.lanes; ++i) x[i] = random.uniform();
    table.widen(x.data(), doubles.data());
    for (size_t i = 0; i < table.lanes; ++i) {
      ASSERT_EQ(doubles[i], double{x[i]}) << table.isa << ", lane " << i;
      doubles[i] += 1e-9 * double{random.uniform()};
    }
    table.store_narrow(doubles.data(), out.data());
    for (size_t i = 0; i < table.lanes; ++i)
      ASSERT_EQ(out[i], static_cast<float>(doubles[i])) << table.isa << ", lane " << i;
  }
}

TEST_P(PrimitivesTest, SumAndMaximumTakeLanesInOrder) {
  const PrimitiveTable& table = *GetParam();
  Random random(9);
  for (int turn = 0; turn < 200; ++turn) {
    Vector x;
    for (size_t i = 0; i < table.lanes; ++i) x[i] = random.uniform();
    float sum = x[0], top = x[0];
    for (size_t i = 1; i < table.lanes; ++i) {
      sum += x[i];
      top = std::max(top, x[i]);
    }
    ASSERT_EQ(table.sum_lanes(x.data()), sum) << table.isa;
    ASSERT_EQ(table.max_lanes(x.data()), top) << table.isa;
  }
}

// A unit in the last place of 1, relative to a number: at most one of its own units.
constexpr double kUlp = 0x1p-23;

// The relative error that exp_of_minus(x) may have.
double exp_bound(const PrimitiveTable& table, double x) {
  return 2 * kUlp + (table.is_fused ? 1.4e-8 : 7.3e-8) * std::fabs(x);
}

TEST_P(PrimitivesTest, ExpOfMinusKeepsItsErrorBound) {
  const PrimitiveTable& table = *GetParam();
  for_each_value(table, samples(87), table.exp_of_minus, [&](float x, float y) {
    const double exact = std::exp(-static_cast<double>(x));
    const double bound = exact * exp_bound(table, static_cast<double>(x));
    ASSERT_LE(std::fabs(static_cast<double>(y) - exact), bound);
  });
  const double smallest = std::exp(-87.0), largest = std::exp(87.0);
  for_each_value(table, {87.5f, 1000.0f, 1e38f, kInfinity}, table.exp_of_minus,
                 [&](float, float y) { ASSERT_NEAR(static_cast<double>(y) / smallest, 1, 1e-5); });
  for_each_value(table, {-87.5f, -1000.0f, -1e38f, -kInfinity}, table.exp_of_minus,
                 [&](float, float y) { ASSERT_NEAR(static_cast<double>(y) / largest, 1, 1e-5); });
  for_each_value(table, {kNaN}, table.exp_of_minus,
                 [](float, float y) { ASSERT_TRUE(std::isnan(y)); });
  for_each_value(table, {0.0f, -0.0f}, table.exp_of_minus,
                 [](float, float y) { ASSERT_EQ(y, 1.0f); });
}

TEST_P(PrimitivesTest, SigmoidKeepsItsErrorBoundAndRange) {
  const PrimitiveTable& table = *GetParam();
  for_each_value(table, samples(80), table.sigmoid, [&](float x, float y) {
    const double exact = 1 / (1 + std::exp(-static_cast<double>(x)));
    // As exp_of_minus where that rules the divisor, and a sum's and a quotient's rounding.
    const double bound = exact * (kUlp + (1 - exact) * exp_bound(table, static_cast<double>(x)));
    ASSERT_LE(std::fabs(static_cast<double>(y) - exact), bound);
    ASSERT_GE(y, 0.0f);
    ASSERT_LE(y, 1.0f);
  });
  for_each_value(table, {kInfinity}, table.sigmoid, [](float, float y) { ASSERT_EQ(y, 1.0f); });
  for_each_value(table, {-kInfinity}, table.sigmoid,
                 [](float, float y) { ASSERT_TRUE(y >= 0 && y < 1e-37f) << y; });
  for_each_value(table, {kNaN}, table.sigmoid, [](float, float y) { ASSERT_TRUE(std::isnan(y)); });
}

TEST_P(PrimitivesTest, GeluKeepsItsErrorBoundAndSigns) {
  const PrimitiveTable& table = *GetParam();
  for_each_value(table, samples(20), table.gelu, [](float x, float y) {
    const double exact =
        static_cast<double>(x) / 2 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0));
    // h is off by 5.5e-9 and a few roundings of at most 1/2; both are multiplied by x.
    const double bound = std::fabs(static_cast<double>(x)) * 2 * kUlp +
                         2 * static_cast<double>(std::numeric_limits<float>::denorm_min());
    ASSERT_LE(std::fabs(static_cast<double>(y) - exact), bound);
    ASSERT_TRUE(x >= 0 ? y >= 0 : y <= 0) << y;
  });
  for_each_value(table, {10.0f, 1e30f, kInfinity}, table.gelu,
                 [](float x, float y) { ASSERT_TRUE(y <= x && y >= x * (1 - 0x1p-23f)) << y; });
  for_each_value(table, {-10.0f, -1e30f}, table.gelu,
                 [](float x, float y) { ASSERT_TRUE(y <= 0 && y >= x * 1e-6f) << y; });
  for_each_value(table, {kNaN}, table.gelu, [](float, float y) { ASSERT_TRUE(std::isnan(y)); });
}

}  // namespace
}  // namespace testing
}  // namespace lightcap::internal
