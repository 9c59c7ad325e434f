#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {
namespace {

class HeadLogitsCase : public KernelCase {
 public:
  HeadLogitsCase(size_t rows, size_t depth, size_t words, size_t gap, DataType type)
      : random_(rows + 100 * words),
        z_(rows, depth, gap, random_),
        weights_(words, depth, random_, type),
        bias_(1, words, 0, random_),
        logits_(rows, words, gap),
        maximum_(1, rows),
        exp_sum_(1, rows) {}

  void run(const KernelTable& kernels) override {
    kernels.head_logits(args(logits_.actual, maximum_.actual, exp_sum_.actual));
  }
  void run_reference() override {
    reference::head_logits(args(logits_.expected, maximum_.expected, exp_sum_.expected));
  }

  // Maximum and sum are compared with those of the kernel's own logits, of which they are computed.
  std::string compare() override {
    const GappedMatrix& logits = logits_.actual;
    for (size_t i = 0; i < logits.rows; ++i) {
      const float top = *std::max_element(logits.row(i), logits.row(i) + logits.columns);
      double sum = 0;
      for (size_t w = 0; w < logits.columns; ++w) {
        sum += std::exp(static_cast<double>(logits.row(i)[w]) - static_cast<double>(top));
      }
      maximum_.expected.data()[i] = top;
      exp_sum_.expected.data()[i] = static_cast<float>(sum);
    }
    std::string difference = maximum_.compare([](size_t, size_t) { return 0.0; });
    if (difference.empty()) {
      difference = exp_sum_.compare([&](size_t, size_t i) {
        return static_cast<double>(exp_sum_.expected.data()[i]) * kUnit *
               (static_cast<double>(logits_.actual.columns) +
                2 * 2 * kLargest * static_cast<double>(z_.columns));
      });
    }
    const std::vector<double> word_norms = output_norms(weights_.matrix());
    std::vector<double> row_norms(z_.rows);
    for (size_t i = 0; i < z_.rows; ++i) {
      for (size_t k = 0; k < z_.columns; ++k)
        row_norms[i] += std::pow(static_cast<double>(z_.row(i)[k]), 2);
      row_norms[i] = std::sqrt(row_norms[i]);
    }
    const std::string wrong_logits = logits_.compare([&](size_t i, size_t w) {
      return dot_bound(z_.columns + 1, row_norms[i] * word_norms[w] + 1);
    });
    return difference.empty() ? wrong_logits : difference;
  }
  double flops() const override {
    return 2.0 * static_cast<double>(z_.rows * z_.columns * logits_.actual.columns);
  }
  double bytes() const override { return static_cast<double>(weights_.matrix().bytes()); }

 private:
  static constexpr double kLargest =
      1;  // of |z| and |embedding|: a logit is at most depth * kLargest
  HeadLogitsArgs args(GappedMatrix& logits, GappedMatrix& maximum, GappedMatrix& exp_sum) const {
    return {.z = z_.data(),
            .z_stride = z_.stride,
            .weights = weights_.matrix(),
            .bias = bias_.data(),
            .logits = logits.data(),
            .logits_stride = logits.stride,
            .maximum = maximum.data(),
            .exp_sum = exp_sum.data(),
            .rows = z_.rows};
  }
  Random random_;
  GappedMatrix z_;
  RandomWeights weights_;
  GappedMatrix bias_;
  OutputPair logits_, maximum_, exp_sum_;
};

class HeadCombineCase : public KernelCase {
 public:
  // `best` words are wanted; 0 for all.
  HeadCombineCase(size_t branches, size_t words, size_t gap, float spread, size_t best)
      : random_(branches * 1000 + words),
        logits_(branches, words, gap, random_, spread),
        log_sum_exp_(1, branches, 0, random_, spread),
        output_(1, words) {
    if (best == 0) return;
    run_reference();
    std::vector<float> y(output_.expected.data(), output_.expected.data() + words);
    std::nth_element(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(best - 1), y.end(),
                     std::greater<>());
    floor_ = y[best - 1];
  }
  void run(const KernelTable& kernels) override { kernels.head_combine(args(output_.actual)); }
  void run_reference() override { reference::head_combine(args(output_.expected)); }
  // One branch is one subtraction. Several add the roundings of exp, log and a mean near 1.
  std::string compare() override {
    const auto bound = [&](size_t, size_t w) {
      double magnitude = std::fabs(static_cast<double>(output_.expected.data()[w]));
      if (logits_.rows == 1) return kUnit * magnitude;
      for (size_t b = 0; b < logits_.rows; ++b) {
        magnitude = std::max(magnitude, std::fabs(static_cast<double>(logits_.row(b)[w]) -
                                                  static_cast<double>(log_sum_exp_.data()[b])));
      }
      return kUnit * (4 * magnitude + 4 * static_cast<double>(logits_.rows) + 16);
    };
    // Below the floor any value that the contract allows is right.
    float* expected = output_.expected.data();
    const std::vector<float> exact(expected, expected + logits_.columns);
    for (size_t w = 0; w < logits_.columns; ++w) {
      const float actual = output_.actual.data()[w];
      const double lowest = static_cast<double>(exact[w]) - bound(0, w);
      if (static_cast<double>(actual) >= lowest && actual < floor_) expected[w] = actual;
    }
    const std::string difference = output_.compare(bound);
    std::copy(exact.begin(), exact.end(), expected);
    return difference;
  }
  double flops() const override {
    return 20.0 * static_cast<double>(logits_.rows * logits_.columns);
  }
  double bytes() const override {
    return 4.0 * static_cast<double>((logits_.rows + 1) * logits_.columns);
  }

 private:
  HeadCombineArgs args(GappedMatrix& y) const {
    return {logits_.data(),  logits_.stride, log_sum_exp_.data(), y.data(), logits_.rows,
            logits_.columns, floor_};
  }
  Random random_;
  float floor_ = -std::numeric_limits<float>::infinity();
  GappedMatrix logits_, log_sum_exp_;
  OutputPair output_;
};

}  // namespace

std::vector<CaseFactory> head_logits_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t rows, size_t depth, size_t words, size_t gap, bool model_shape,
                       DataType type = DataType::kF32) {
    cases.push_back(
        {std::to_string(rows) + " rows x " + std::to_string(depth) + " n" + std::to_string(words) +
             (type == DataType::kF32 ? "" : std::string(" ") + data_type_name(type)),
         model_shape,
         [=] { return std::make_unique<HeadLogitsCase>(rows, depth, words, gap, type); }});
  };
  for (size_t n = 1; n <= 66; ++n) {
    add(n % 5 + 1, n % 13 + 1, n, n % 3, false);
    if (n <= kMaxHeadRows) add(n, 9, 35, n % 2, false);
  }
  add(3, 312, 1024, 0, true);   // greedy: three branches
  add(15, 312, 1024, 0, true);  // five beams
  for (const DataType type : {DataType::kF16, DataType::kBf16}) {
    for (size_t n = 1; n <= 20; ++n) add(n, 13, 3 * n, n % 3, false, type);
    add(3, 312, 1024, 0, true, type);
  }
  return cases;
}

std::vector<CaseFactory> head_combine_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t branches, size_t words, size_t gap, float spread, size_t best,
                       bool model_shape) {
    cases.push_back({std::to_string(branches) + " branches n" + std::to_string(words) +
                         (best == 0 ? "" : " best " + std::to_string(best)),
                     model_shape, [=] {
                       return std::make_unique<HeadCombineCase>(branches, words, gap, spread, best);
                     }});
  };
  for (size_t words = 1; words <= 66; ++words) {
    const float spread = words % 2 == 0 ? 2 : 500;
    for (const size_t best : {size_t{0}, size_t{1}, words / 2 + 1})
      add(words % 5 + 1, words, words % 3, spread, best, false);
  }
  add(3, 1024, 0, 10, 0, true);  // all log-probabilities are wanted
  add(3, 1024, 0, 10, 1, true);  // decoding
  return cases;
}

}  // namespace lightcap::internal::testing
