#include <cmath>

#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"

namespace lightcap::internal::testing {
namespace {

class LayerNormCase : public KernelCase {
 public:
  LayerNormCase(size_t rows, size_t columns, size_t gap, float offset, bool in_place)
      : in_place_(in_place),
        random_(rows * 1000 + columns),
        x_(rows, columns, gap, random_),
        weight_(1, columns, 0, random_),
        bias_(1, columns, 0, random_),
        output_(rows, columns, gap) {
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < columns; ++j) x_.row(i)[j] += offset;
    }
  }
  void run(const KernelTable& kernels) override {
    if (in_place_) std::copy_n(x_.data(), x_.floats.size(), output_.actual.data());
    kernels.layer_norm(args(in_place_ ? output_.actual : x_, output_.actual));
  }
  void run_reference() override { reference::layer_norm(args(x_, output_.expected)); }

  // The mean is off by its sum's roundings; that shifts every deviation, and the variance's own sum
  // and the square root add to the scale.
  std::string compare() override {
    const auto n = static_cast<double>(x_.columns);
    return output_.compare([&](size_t i, size_t j) {
      double mean = 0, magnitude = 0, variance = 0;
      for (size_t k = 0; k < x_.columns; ++k) {
        mean += static_cast<double>(x_.row(i)[k]) / n;
        magnitude += std::fabs(static_cast<double>(x_.row(i)[k])) / n;
      }
      for (size_t k = 0; k < x_.columns; ++k) {
        variance += std::pow(static_cast<double>(x_.row(i)[k]) - mean, 2) / n;
      }
      const double scale = 1 / std::sqrt(variance + static_cast<double>(kEps));
      const double mean_error = kUnit * (n + 4) * magnitude;
      const double deviation = std::fabs(static_cast<double>(x_.row(i)[j]) - mean);
      const double scale_error = kUnit * (n / 2 + 8) + mean_error * scale;
      const double weight = std::fabs(static_cast<double>(weight_.data()[j]));
      const double bias = std::fabs(static_cast<double>(bias_.data()[j]));
      const double normal = deviation * scale;
      return weight * (mean_error * scale + normal * scale_error) +
             4 * kUnit * (weight * normal + bias);
    });
  }
  double flops() const override { return 7.0 * static_cast<double>(x_.rows * x_.columns); }
  double bytes() const override { return 8.0 * static_cast<double>(x_.rows * x_.columns); }

 private:
  static constexpr float kEps = 1e-12f;
  LayerNormArgs args(const GappedMatrix& x, GappedMatrix& y) const {
    return {x.data(), x.stride, weight_.data(), bias_.data(), kEps,
            y.data(), y.stride, x.rows,         x.columns};
  }
  bool in_place_;
  Random random_;
  GappedMatrix x_, weight_, bias_;
  OutputPair output_;
};

class SoftmaxCase : public KernelCase {
 public:
  SoftmaxCase(size_t rows, size_t columns, size_t gap, float spread)
      : random_(rows * 1000 + columns),
        x_(rows, columns, gap, random_, spread),
        output_(rows, columns, gap) {
    if (spread > 100) x_.row(0)[columns / 2] = -1e30f;  // its exponential vanishes
  }
  void run(const KernelTable& kernels) override { kernels.softmax(args(output_.actual)); }
  void run_reference() override { reference::softmax(args(output_.expected)); }
  // exp magnifies the rounding of x - max by |x - max|; the sum adds one rounding a column.
  std::string compare() override {
    std::vector<float> tops;
    for (size_t i = 0; i < x_.rows; ++i)
      tops.push_back(*std::max_element(x_.row(i), x_.row(i) + x_.columns));
    return output_.compare([&](size_t i, size_t j) {
      const double below = static_cast<double>(tops[i]) - static_cast<double>(x_.row(i)[j]);
      const double value = static_cast<double>(output_.expected.row(i)[j]);
      return value * kUnit * (static_cast<double>(x_.columns) + 2 * below + 12) + 1e-37;
    });
  }
  double flops() const override { return 20.0 * static_cast<double>(x_.rows * x_.columns); }
  double bytes() const override { return 8.0 * static_cast<double>(x_.rows * x_.columns); }

 private:
  SoftmaxArgs args(GappedMatrix& y) const {
    return {x_.data(), x_.stride, y.data(), y.stride, x_.rows, x_.columns};
  }
  Random random_;
  GappedMatrix x_;
  OutputPair output_;
};

}  // namespace

std::vector<CaseFactory> layer_norm_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t rows, size_t columns, size_t gap, float offset, bool model_shape) {
    cases.push_back({std::to_string(rows) + "x" + std::to_string(columns), model_shape, [=] {
                       return std::make_unique<LayerNormCase>(rows, columns, gap, offset,
                                                              columns % 2 == 0);
                     }});
  };
  for (size_t columns = 2; columns <= 67; ++columns)
    add(columns % 4 + 1, columns, columns % 5, 0, false);
  add(3, 312, 3, 100, false);  // a mean beside which squares lose the variance
  add(85, 312, 0, 0, true);
  add(2, 312, 0, 0, true);
  return cases;
}

std::vector<CaseFactory> softmax_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t rows, size_t columns, size_t gap, float spread, bool model_shape) {
    cases.push_back({std::to_string(rows) + "x" + std::to_string(columns), model_shape,
                     [=] { return std::make_unique<SoftmaxCase>(rows, columns, gap, spread); }});
  };
  for (size_t columns = 1; columns <= 67; ++columns) {
    add(columns % 3 + 1, columns, columns % 5, columns % 2 == 0 ? 3 : 300, false);
  }
  add(12, 109, 0, 5, true);
  add(1, 30522, 0, 10, true);
  return cases;
}

}  // namespace lightcap::internal::testing
