#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"

namespace lightcap::internal::testing {
namespace {

enum class Values { kRandom, kFewDistinct, kAscending, kAllEqual, kMinusInfinity };

class TopKCase : public KernelCase {
 public:
  TopKCase(size_t count, size_t k, Values values)
      : k_(k),
        random_(count + k),
        x_(1, count, 0, random_),
        output_(1, k),
        indices_(k),
        expected_(k) {
    for (size_t i = 0; i < count; ++i) {
      float& x = x_.data()[i];
      if (values == Values::kFewDistinct) x = static_cast<float>(static_cast<int>(x * 3));
      if (values == Values::kAscending) x = static_cast<float>(i);
      if (values == Values::kAllEqual) x = 5;
      if (values == Values::kMinusInfinity && i % 3 != 0)
        x = -std::numeric_limits<float>::infinity();
    }
  }
  void run(const KernelTable& kernels) override { kernels.top_k(args(output_.actual, indices_)); }
  void run_reference() override { reference::top_k(args(output_.expected, expected_)); }
  std::string compare() override {
    std::string difference = output_.compare([](size_t, size_t) { return 0.0; });
    for (size_t i = 0; i < k_ && difference.empty(); ++i) {
      if (indices_[i] != expected_[i]) {
        difference = "index " + std::to_string(i) + " is " + std::to_string(indices_[i]) +
                     ", expected " + std::to_string(expected_[i]);
      }
    }
    std::fill(indices_.begin(), indices_.end(), UINT32_MAX);
    return difference;
  }
  double flops() const override { return static_cast<double>(x_.columns); }
  double bytes() const override { return 4.0 * static_cast<double>(x_.columns); }

 private:
  TopKArgs args(GappedMatrix& values, std::vector<uint32_t>& indices) const {
    return {x_.data(), x_.columns, k_, values.data(), indices.data()};
  }
  size_t k_;
  Random random_;
  GappedMatrix x_;
  OutputPair output_;
  std::vector<uint32_t> indices_, expected_;
};

}  // namespace

std::vector<CaseFactory> top_k_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t count, size_t k, Values values, bool model_shape = false) {
    cases.push_back({std::to_string(k) + " of " + std::to_string(count), model_shape,
                     [=] { return std::make_unique<TopKCase>(count, k, values); }});
  };
  for (const Values values : {Values::kRandom, Values::kFewDistinct, Values::kAscending,
                              Values::kAllEqual, Values::kMinusInfinity}) {
    for (size_t count = 1; count <= 66; ++count) {
      for (const size_t k : {size_t{1}, count / 2, count}) add(count, k, values);
    }
    add(3000, kMaxTopK, values);
  }
  add(30522, 1, Values::kRandom, true);
  add(30522, 10, Values::kRandom, true);
  return cases;
}

}  // namespace lightcap::internal::testing
