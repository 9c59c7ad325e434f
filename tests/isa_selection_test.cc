// The choice of each kernel's row, on made-up CPUs.
#include "kernels/isa_selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cpu_features.h"
#include "kernels/dispatch.h"

namespace lightcap::internal {
namespace {

// Made-up features.
constexpr uint32_t kWide = 1, kDot = 2, kHuge = 4;

// Kernels that do nothing and differ in their addresses; as gemm and conv they stand for all.
template <int kId>
void gemm_of(const GemmArgs&) {}
template <int kId>
void conv_of(const ConvArgs&) {}

template <int kId>
KernelTable whole_table(const char* isa) {
  KernelTable table = {};
  table.isa = isa;
  table.tile_rows = kId;
  table.gemm = gemm_of<kId>;
  table.conv = conv_of<kId>;
  return table;
}
template <int kId>
KernelTable gemm_table(const char* isa) {
  KernelTable table = whole_table<kId>(isa);
  table.conv = nullptr;
  return table;
}

const KernelTable kPlainTable = whole_table<1>("plain");
const KernelTable kWideTable = whole_table<2>("wide");
const KernelTable kHugeTable = whole_table<3>("huge");
const KernelTable kDotTable = gemm_table<4>("dot");
const KernelTable kDotHugeTable = gemm_table<5>("dothuge");

const IsaRow kPlain = {"plain", "none", 0, 0, &kPlainTable};
const IsaRow kWideRow = {"wide", "none", 0, kWide, &kWideTable};
const IsaRow kHugeRow = {"huge", "none", 0, kWide | kHuge, &kHugeTable};

// `dot` overrides gemm of `wide`; neither it nor `huge` includes the other's features.
IsaRow dot_row(int preference) { return {"dot", "wide", preference, kWide | kDot, &kDotTable}; }

TEST(IsaSelection, TakesTheRowThatIncludesTheOthersFeatures) {
  const std::vector<IsaRow> rows = {kPlain, kWideRow, kHugeRow};
  EXPECT_EQ(select_kernels(rows, 0).table.gemm, gemm_of<1>);
  EXPECT_EQ(select_kernels(rows, kWide).table.gemm, gemm_of<2>);
  EXPECT_EQ(select_kernels(rows, kWide | kHuge).table.gemm, gemm_of<3>);
  EXPECT_EQ(select_kernels(rows, kWide | kHuge | kDot).table.gemm, gemm_of<3>);
}

TEST(IsaSelection, NeedsAllOfARowsFeatures) {
  const std::vector<IsaRow> rows = {kPlain, kWideRow, kHugeRow};
  EXPECT_EQ(select_kernels(rows, kHuge).table.gemm, gemm_of<1>);
  EXPECT_STREQ(select_kernels(rows, kHuge).name, "plain");
}

TEST(IsaSelection, DoesNotDependOnTheOrderOfRows) {
  std::vector<IsaRow> rows = {kPlain, kWideRow, kHugeRow, dot_row(1)};
  for (int turn = 0; turn < 4; ++turn) {
    for (uint32_t features = 0; features < 8; ++features) {
      const KernelTable expected =
          select_kernels(std::vector<IsaRow>{kPlain, kWideRow, kHugeRow, dot_row(1)}, features)
              .table;
      const KernelTable actual = select_kernels(rows, features).table;
      EXPECT_EQ(actual.gemm, expected.gemm) << features;
      EXPECT_EQ(actual.conv, expected.conv) << features;
      EXPECT_EQ(actual.tile_rows, expected.tile_rows) << features;
    }
    std::rotate(rows.begin(), rows.begin() + 1, rows.end());
  }
}

TEST(IsaSelection, CompletesARowWithItsParentsKernels) {
  const std::vector<IsaRow> rows = {kPlain, kWideRow, dot_row(0)};
  const KernelTable table = complete_table(rows, 2);
  EXPECT_STREQ(table.isa, "dot");
  EXPECT_EQ(table.gemm, gemm_of<4>);
  EXPECT_EQ(table.conv, conv_of<2>);
  const SelectedKernels selected = select_kernels(rows, kWide | kDot);
  EXPECT_EQ(selected.table.gemm, gemm_of<4>);
  EXPECT_EQ(selected.table.conv, conv_of<2>);
  EXPECT_STREQ(selected.name, "dot");
}

TEST(IsaSelection, CompletesAGrandchild) {
  const KernelTable grandchild = [] {
    KernelTable table = {};
    table.isa = "dotter";
    table.conv = conv_of<6>;
    return table;
  }();
  const std::vector<IsaRow> rows = {
      kWideRow, dot_row(0), {"dotter", "dot", 0, kWide | kDot | kHuge, &grandchild}};
  const KernelTable table = complete_table(rows, 2);
  EXPECT_EQ(table.gemm, gemm_of<4>);
  EXPECT_EQ(table.conv, conv_of<6>);
  EXPECT_EQ(table.tile_rows, 4u);
}

TEST(IsaSelection, TakesTheTileHeightOfTheRowThatGemmComesFrom) {
  const std::vector<IsaRow> rows = {kPlain, kWideRow, kHugeRow, dot_row(1)};
  EXPECT_EQ(complete_table(rows, 3).tile_rows, 4u);
  EXPECT_EQ(select_kernels(rows, kWide | kDot).table.tile_rows, 4u);
  EXPECT_EQ(select_kernels(rows, kWide | kDot | kHuge).table.tile_rows, 4u);
  EXPECT_EQ(select_kernels(rows, kWide | kHuge).table.tile_rows, 3u);
}

TEST(IsaSelection, PrefersIntegerWinogradWhereTheRowOfIntegerConvDoes) {
  const auto with_integer_conv = [](KernelTable table, bool prefers) {
    table.integer_conv = [](const IntegerConvArgs&) {};
    table.prefers_integer_winograd = prefers;
    return table;
  };
  const KernelTable wide = with_integer_conv(kWideTable, true);
  const KernelTable fast = with_integer_conv(kDotTable, false);
  const std::vector<IsaRow> rows = {{"wide", "none", 0, kWide, &wide},
                                    {"dot", "wide", 0, kWide | kDot, &kDotTable},
                                    {"fast", "wide", 1, kWide | kHuge, &fast}};
  EXPECT_TRUE(complete_table(rows, 0).prefers_integer_winograd);
  EXPECT_TRUE(complete_table(rows, 1).prefers_integer_winograd);
  EXPECT_FALSE(complete_table(rows, 2).prefers_integer_winograd);
  EXPECT_TRUE(select_kernels(rows, kWide | kDot).table.prefers_integer_winograd);
  EXPECT_FALSE(select_kernels(rows, kWide | kHuge).table.prefers_integer_winograd);
}

TEST(IsaSelection, LetsThePreferenceDecideForEachKernelByItself) {
  const uint32_t all = kWide | kDot | kHuge;
  const SelectedKernels dot =
      select_kernels(std::vector<IsaRow>{kPlain, kWideRow, kHugeRow, dot_row(1)}, all);
  EXPECT_EQ(dot.table.gemm, gemm_of<4>);
  EXPECT_EQ(dot.table.conv, conv_of<3>);  // dot's is wide's, whose features huge includes
  EXPECT_STREQ(dot.name, "huge+dot");
  const SelectedKernels huge =
      select_kernels(std::vector<IsaRow>{kPlain, kWideRow, kHugeRow, dot_row(-1)}, all);
  EXPECT_EQ(huge.table.gemm, gemm_of<3>);
  EXPECT_EQ(huge.table.conv, conv_of<3>);
  EXPECT_STREQ(huge.name, "huge");
}

TEST(IsaSelection, LetsNoPreferenceBringBackARowThatAnotherIncludes) {
  // Taken in pairs, these rows go round in a circle: huge before wide, wide before dot, dot before
  // huge. Wide is out of the choice, as huge includes it.
  IsaRow wide = kWideRow;
  wide.preference = 2;
  const IsaRow dot = {"dot", "none", 1, kDot, &kDotTable};
  const std::vector<IsaRow> rows = {kPlain, wide, kHugeRow, dot};
  EXPECT_EQ(problem_of(rows), nullptr);
  EXPECT_EQ(select_kernels(rows, kWide | kDot | kHuge).table.gemm, gemm_of<4>);
  EXPECT_EQ(select_kernels(rows, kWide | kDot).table.gemm, gemm_of<2>);
}

TEST(IsaSelection, TakesARowThatUnitesTwo) {
  const std::vector<IsaRow> rows = {kPlain,
                                    kWideRow,
                                    kHugeRow,
                                    dot_row(1),
                                    {"dothuge", "huge", 0, kWide | kDot | kHuge, &kDotHugeTable}};
  const SelectedKernels selected = select_kernels(rows, kWide | kDot | kHuge);
  EXPECT_EQ(selected.table.gemm, gemm_of<5>);
  EXPECT_EQ(selected.table.conv, conv_of<3>);
  EXPECT_STREQ(selected.name, "dothuge");
}

TEST(IsaSelection, CutsNamesThatAreTooLong) {
  const std::string long_name(100, 'x');
  const std::vector<IsaRow> rows = {{long_name, "none", 0, 0, &kPlainTable}};
  const SelectedKernels selected = select_kernels(rows, 0);
  EXPECT_EQ(std::strlen(selected.name), sizeof selected.name - 1);
}

TEST(IsaRows, AreRefusedWhereTheyBreakARule) {
  const auto problem = [](const std::vector<IsaRow>& rows) {
    const char* text = problem_of(rows);
    return std::string(text == nullptr ? "" : text);
  };
  EXPECT_EQ(problem({kPlain, kWideRow, kHugeRow, dot_row(1)}), "");
  EXPECT_EQ(problem({kPlain, kPlain}), "a name occurs twice");
  EXPECT_EQ(problem({kPlain, dot_row(1), kWideRow}), "a row's parent must stand above it");
  EXPECT_EQ(problem({kPlain, dot_row(1)}), "a row's parent must stand above it");
  EXPECT_EQ(problem({kPlain, kWideRow, {"dot", "wide", 0, kDot, &kDotTable}}),
            "a row must ask for its parent's features");
  EXPECT_EQ(problem({kPlain, kWideRow, kHugeRow, dot_row(0)}),
            "rows neither of which includes the other need different preferences");
  EXPECT_EQ(problem({kPlain, kWideRow, {"same", "none", 0, kWide, &kHugeTable}}),
            "rows neither of which includes the other need different preferences");
  EXPECT_EQ(problem({kWideRow}), "no row without a parent is for every CPU of the machine");
}

TEST(Dispatch, HasACompleteTableForEveryRow) {
  for (size_t i = 0; i < isa_count(); ++i) {
    const KernelTable& table = *isa_at(i).table;
    EXPECT_STREQ(table.isa, isa_at(i).name);
    EXPECT_GT(table.tile_rows, 0u) << table.isa;
#define LIGHTCAP_KERNEL(name, Args) EXPECT_NE(table.name, nullptr) << table.isa << ": " << #name;
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
  }
}

TEST(Dispatch, FindsRowsAndTheBestTableByName) {
  EXPECT_EQ(find_kernels(best_kernels().isa), &best_kernels());
  EXPECT_EQ(find_kernels("abacus"), nullptr);
  for (size_t i = 0; i < isa_count(); ++i) {
    const KernelTable* found = find_kernels(isa_at(i).name);
    ASSERT_EQ(found != nullptr, isa_supported(isa_at(i))) << isa_at(i).name;
    if (found == nullptr) continue;
    EXPECT_EQ(found->gemm, isa_at(i).table->gemm) << isa_at(i).name;
  }
}

#if defined(__x86_64__)
TEST(Dispatch, FindsTheFeaturesThatTheCompilersOwnDetectionFinds) {
  const uint32_t features = detect_cpu_features();
  EXPECT_EQ((features & kAvx2) != 0, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ((features & kFma) != 0, __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ((features & kAvx512f) != 0, __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ((features & kAvx512cd) != 0, __builtin_cpu_supports("avx512cd") != 0);
  EXPECT_EQ((features & kAvx512dq) != 0, __builtin_cpu_supports("avx512dq") != 0);
  EXPECT_EQ((features & kAvx512bw) != 0, __builtin_cpu_supports("avx512bw") != 0);
  EXPECT_EQ((features & kAvx512vl) != 0, __builtin_cpu_supports("avx512vl") != 0);
}
#endif

}  // namespace
}  // namespace lightcap::internal
