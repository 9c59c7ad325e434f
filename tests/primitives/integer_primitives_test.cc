// The integer primitives of every instruction set of this CPU against their contracts
// (kernels/simd/plain.inl).
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/integer_silu.h"
#include "tests/kernels/integer_case.h"
#include "tests/primitives/primitive_table.h"

namespace lightcap::internal::testing {
namespace {

constexpr size_t kMaxLanes = 16;

class IntegerPrimitivesTest : public ::testing::TestWithParam<const PrimitiveTable*> {
 protected:
  const PrimitiveTable& table_ = *GetParam();
  const size_t lanes_ = GetParam()->lanes;
};

INSTANTIATE_TEST_SUITE_P(EveryIsa, IntegerPrimitivesTest, ::testing::ValuesIn(supported_tables()),
                         [](const auto& table) { return std::string(table.param->isa); });

uint8_t saturated(int64_t x) { return static_cast<uint8_t>(std::clamp<int64_t>(x, 0, 255)); }
int16_t shortened(int64_t x) {
  return static_cast<int16_t>(std::clamp<int64_t>(x, INT16_MIN, INT16_MAX));
}

// Integers of every magnitude, those at the borders of 8 and 16 bits often.
int32_t any_integer(Random& random) {
  constexpr int32_t kBorders[] = {0,     1,     -1,     127,    128,   255,     256,
                                  32767, 32768, -32768, -32769, 65535, 1 << 30, -(1 << 30)};
  if (random.bits() % 3 == 0) return kBorders[random.bits() % std::size(kBorders)];
  return static_cast<int32_t>(random.bits()) >> random.bits() % 32;
}

// (1 + d)^2 is 1 + 2 d + d^2, of which a product rounded to float has lost the last.
TEST_P(IntegerPrimitivesTest, RoundedProductsAreNotFused) {
  alignas(64) float x[kMaxLanes], z[kMaxLanes], out[kMaxLanes];
  std::fill_n(x, lanes_, 1 + 0x1p-12f);
  std::fill_n(z, lanes_, -(1 + 0x1p-11f));
  table_.rounded_product_plus(x, x, z, out);
  for (size_t i = 0; i < lanes_; ++i) EXPECT_EQ(out[i], 0.0f);
}

TEST_P(IntegerPrimitivesTest, ToIntegersRoundsHalvesToEven) {
  const std::vector<float> values = {0.5f,  1.5f,  2.5f,       -0.5f,         -1.5f,
                                     -2.5f, 0.49f, 8388607.5f, 1073741760.0f, -1073741760.0f};
  for (const float value : values) {
    alignas(64) float x[kMaxLanes];
    alignas(64) int32_t out[kMaxLanes];
    std::fill_n(x, lanes_, value);
    table_.to_integers(x, out);
    for (size_t i = 0; i < lanes_; ++i)
      EXPECT_EQ(out[i], static_cast<int32_t>(std::nearbyint(value))) << value;
  }
}

TEST_P(IntegerPrimitivesTest, AddDotsIsExactForAllThatThePairRuleAllows) {
  Random random(1);
  for (int turn = 0; turn < 20000; ++turn) {
    uint8_t quad[4];
    fill_bytes(random, quad, 4);
    if (turn % 4 == 0) std::fill_n(quad, 4, uint8_t{255});
    alignas(64) int8_t weights[kMaxLanes][4];
    alignas(64) int32_t sum[kMaxLanes];
    std::vector<int64_t> expected(lanes_);
    for (size_t i = 0; i < lanes_; ++i) {
      expected[i] = sum[i] = static_cast<int32_t>(random.bits()) >> 1;
      for (size_t k = 0; k < 4; ++k) {
        int weight = static_cast<int>(random.bits() % 255) - 127;
        if (k % 2 == 1) {  // often exactly 128 with its neighbour
          const int before = weights[i][k - 1];
          if (before > 0) weight = std::min(turn % 2 == 0 ? 127 : weight, 128 - before);
          if (before < 0) weight = std::max(turn % 2 == 0 ? -127 : weight, -128 - before);
        }
        weights[i][k] = static_cast<int8_t>(weight);
        expected[i] += (quad[k] - table_.byte_offset) * weight;
      }
    }
    table_.add_dots(sum, quad, weights[0]);
    for (size_t i = 0; i < lanes_; ++i)
      ASSERT_EQ(sum[i], static_cast<int32_t>(expected[i])) << table_.isa << ", lane " << i;
  }
}

TEST_P(IntegerPrimitivesTest, ToFloatsRoundsToTheNearest) {
  Random random(4);
  for (int turn = 0; turn < 2000; ++turn) {
    alignas(64) int32_t x[kMaxLanes];
    alignas(64) float out[kMaxLanes];
    for (size_t i = 0; i < lanes_; ++i) x[i] = any_integer(random);
    table_.to_floats(x, out);
    for (size_t i = 0; i < lanes_; ++i) ASSERT_EQ(out[i], static_cast<float>(x[i])) << x[i];
  }
}

TEST_P(IntegerPrimitivesTest, AddDotsOfTakesTheQuadThatItNames) {
  if (table_.add_dots_of == nullptr) GTEST_SKIP() << table_.isa << " loads one quad at a time";
  Random random(5);
  for (int turn = 0; turn < 2000; ++turn) {
    uint8_t quads[16];
    alignas(64) int8_t weights[4 * kMaxLanes];
    fill_bytes(random, quads, sizeof quads);
    for (int8_t& weight : weights) weight = static_cast<int8_t>(random.bits() % 129 - 64);
    for (size_t quad = 0; quad < table_.quads_of_rows; ++quad) {
      alignas(64) int32_t sum[kMaxLanes], expected[kMaxLanes];
      for (size_t i = 0; i < lanes_; ++i) sum[i] = expected[i] = any_integer(random) / 2;
      table_.add_dots_of(sum, quads, quad, weights);
      table_.add_dots(expected, quads + 4 * quad, weights);
      for (size_t i = 0; i < lanes_; ++i) ASSERT_EQ(sum[i], expected[i]) << "quad " << quad;
    }
  }
}

TEST_P(IntegerPrimitivesTest, BlocksAreExactForAllBytes) {
  if (table_.add_blocks == nullptr) GTEST_SKIP() << table_.isa << " multiplies no blocks";
  Random random(7);
  constexpr size_t kStride = 8;  // of rows
  for (int turn = 0; turn < 4000; ++turn) {
    const size_t quads = 1 + static_cast<size_t>(turn % 2);
    // Behind the quads are bytes that must not count.
    uint8_t rows[2 * kStride];
    fill_bytes(random, rows, sizeof rows);
    if (turn % 8 < 2) std::fill_n(rows, sizeof rows, uint8_t{255});
    alignas(64) int8_t weights[2 * 4 * kMaxLanes];
    for (int8_t& weight : weights)
      weight = turn % 16 < 2 ? INT8_MIN : static_cast<int8_t>(random.bits());
    alignas(64) int32_t sums[2 * kMaxLanes], expected[2 * kMaxLanes];
    for (size_t i = 0; i < 2 * lanes_; ++i) {
      sums[i] = expected[i] = any_integer(random) / 2;
      for (size_t k = 0; k < 4 * quads; ++k) {
        const size_t weight = k / 4 * 4 * lanes_ + i % lanes_ * 4 + k % 4;
        expected[i] += rows[i / lanes_ * kStride + k] * weights[weight];
      }
    }
    table_.add_blocks(sums, rows, kStride, quads, weights);
    for (size_t i = 0; i < 2 * lanes_; ++i) ASSERT_EQ(sums[i], expected[i]) << "sum " << i;
  }
}

// Two products of -32768 by itself are 2^31: sums are modulo 2^32.
TEST_P(IntegerPrimitivesTest, AddPairsIsExactForAllNumbersOf16Bits) {
  Random random(6);
  for (int turn = 0; turn < 2000; ++turn) {
    alignas(64) int16_t row[2 * kMaxLanes], weights[2 * kMaxLanes];
    alignas(64) int32_t sum[kMaxLanes];
    uint32_t expected[kMaxLanes];
    for (size_t i = 0; i < 2 * lanes_; ++i) {
      row[i] = turn == 0 ? INT16_MIN : shortened(any_integer(random));
      weights[i] = turn == 0 ? INT16_MIN : shortened(any_integer(random));
    }
    for (size_t i = 0; i < lanes_; ++i) {
      sum[i] = any_integer(random);
      expected[i] = static_cast<uint32_t>(sum[i]);
      for (const size_t k : {2 * i, 2 * i + 1})
        expected[i] += static_cast<uint32_t>(row[k]) * static_cast<uint32_t>(weights[k]);
    }
    table_.add_pairs(sum, row, weights);
    for (size_t i = 0; i < lanes_; ++i)
      ASSERT_EQ(static_cast<uint32_t>(sum[i]), expected[i]) << table_.isa << ", lane " << i;
  }
}

TEST_P(IntegerPrimitivesTest, LoadBytesReadsAsManyAsThereAreLanes) {
  GuardedBytes bytes(lanes_);  // ends at an unmapped page
  for (size_t i = 0; i < lanes_; ++i) bytes[i] = static_cast<uint8_t>(250 + i);
  alignas(64) int32_t out[kMaxLanes];
  table_.load_bytes(bytes.data(), out);
  for (size_t i = 0; i < lanes_; ++i) EXPECT_EQ(out[i], bytes[i]) << i;
}

TEST_P(IntegerPrimitivesTest, PacksSaturateAndKeepTheOrderOfFourVectors) {
  Random random(2);
  for (int turn = 0; turn < 2000; ++turn) {
    int32_t x[4 * kMaxLanes];
    uint8_t out[4 * kMaxLanes];
    for (int32_t& value : x) value = any_integer(random);
    const int16_t floor = turn % 2 == 0 ? INT16_MIN : 0;
    const auto added = static_cast<int16_t>(random.bits() % 256);
    table_.to_bytes(x, floor, added, out);
    for (size_t i = 0; i < 4 * lanes_; ++i) {
      ASSERT_EQ(out[i], saturated(std::max<int64_t>(x[i], floor) + added))
          << table_.isa << ", " << x[i] << " at " << i;
    }
  }
}

TEST_P(IntegerPrimitivesTest, SiluIsThatOfTheTablesForEveryNumber) {
  for (const int16_t factor : {int16_t{1}, int16_t{300}, int16_t{32767}}) {
    for (int32_t first = INT16_MIN; first <= INT16_MAX; first += static_cast<int32_t>(4 * lanes_)) {
      int32_t x[4 * kMaxLanes];
      uint8_t added[4 * kMaxLanes], out[4 * kMaxLanes];
      for (size_t i = 0; i < 4 * lanes_; ++i) {
        x[i] = first + static_cast<int32_t>(i);
        added[i] = static_cast<uint8_t>(7 * i);
      }
      table_.silu(x, factor, added, out);
      for (size_t i = 0; i < 4 * lanes_; ++i) {
        const int16_t exact =
            multiply_high_rounded(integer_silu(static_cast<int16_t>(x[i])), factor);
        ASSERT_EQ(out[i], saturated(int64_t{exact} + added[i])) << table_.isa << ", x = " << x[i];
      }
    }
  }
}

TEST_P(IntegerPrimitivesTest, SplitTakesNumbersApart) {
  Random random(3);
  for (int turn = 0; turn < 2000; ++turn) {
    int32_t x[4 * kMaxLanes];
    uint8_t high[4 * kMaxLanes], low[4 * kMaxLanes];
    for (int32_t& value : x) value = shortened(any_integer(random));
    table_.split(x, high, low);
    for (size_t i = 0; i < 4 * lanes_; ++i)
      ASSERT_EQ(256 * (high[i] - 128) + low[i], x[i]) << table_.isa << ", at " << i;
  }
}

TEST_P(IntegerPrimitivesTest, RowsAreReadAndWrittenWhereTheyAreAndNowhereElse) {
  const size_t bytes = 4 * lanes_;
  for (size_t rows = 1; bytes / rows >= 16; rows *= 2) {
    const size_t width = bytes / rows, stride = width + 5;
    for (size_t count = 1; count <= rows; ++count) {
      GuardedBytes from((count - 1) * stride + width), to(from.size());  // end at unmapped pages
      for (size_t i = 0; i < from.size(); ++i) {
        from[i] = static_cast<uint8_t>(3 * i + 1);
        to[i] = 77;
      }
      uint8_t vector[4 * kMaxLanes];
      table_.load_rows(rows, from.data(), stride, count, vector);
      table_.store_rows(rows, vector, to.data(), stride, count);
      for (size_t i = 0; i < to.size(); ++i) {
        const bool is_in_row = i % stride < width;
        EXPECT_EQ(to[i], is_in_row ? from[i] : 77) << table_.isa << ", " << rows << " rows, " << i;
      }
      for (size_t i = 0; i < count * width; ++i)
        EXPECT_EQ(vector[i], from[i / width * stride + i % width]) << table_.isa;
    }
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
