// Every kernel of kernels.def on every instruction set of this CPU, against the plain reference.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "kernels/dispatch.h"
#include "tests/kernels/kernel_case.h"

namespace lightcap::testing {
namespace {

class KernelTest : public ::testing::TestWithParam<KernelRow> {};

TEST_P(KernelTest, EqualsReferenceOnEveryIsa) {
  const std::vector<CaseFactory> cases = GetParam().cases();
  ASSERT_FALSE(cases.empty());
  for (const CaseFactory& factory : cases) {
    const std::unique_ptr<KernelCase> problem = factory.make();
    problem->run_reference();
    for (size_t i = 0; i < isa_count(); ++i) {
      if (!isa_supported(isa_at(i))) continue;
      problem->run(*isa_at(i).table);
      EXPECT_EQ(problem->compare(), "") << isa_at(i).name << ": " << factory.name;
    }
    if (HasFailure()) return;  // one case's words are enough
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, KernelTest, ::testing::ValuesIn(kernel_rows()),
                         [](const auto& row) { return std::string(row.param.name); });

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
}  // namespace lightcap::testing
