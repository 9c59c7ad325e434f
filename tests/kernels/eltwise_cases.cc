#include <cmath>

#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"

namespace lightcap::internal::testing {
namespace {

class ActivateCase : public KernelCase {
 public:
  ActivateCase(size_t count, Activation activation, bool in_place)
      : count_(count),
        activation_(activation),
        in_place_(in_place),
        random_(count),
        x_(1, count, 0, random_, 20),
        output_(1, count) {
    // Arguments at which functions saturate, and at which exp would overflow.
    const float corners[] = {0, -0.0f, 1e-30f, -1e-30f, 88, -88, 200, -200, 1e30f, -1e30f};
    for (size_t i = 0; i < count && i < std::size(corners); ++i) x_.data()[i] = corners[i];
  }
  void run(const KernelTable& kernels) override {
    if (in_place_) std::copy_n(x_.data(), count_, output_.actual.data());
    kernels.activate({in_place_ ? output_.actual.data() : x_.data(), output_.actual.data(), count_,
                      activation_});
  }
  void run_reference() override {
    reference::activate({x_.data(), output_.expected.data(), count_, activation_});
  }
  // exp and erf are good to some 2 units, and 3 to 4 operations follow.
  std::string compare() override {
    return output_.compare([&](size_t, size_t j) -> double {
      const double magnitude = std::fabs(static_cast<double>(x_.data()[j]));
      switch (activation_) {
        case Activation::kNone:
        case Activation::kRelu:
          return 0;
        case Activation::kSigmoid:
          return 8 * kUnit;
        case Activation::kSilu:
        case Activation::kGelu:
          return 8 * kUnit * magnitude;
      }
      return 0;
    });
  }
  double flops() const override { return static_cast<double>(count_); }
  double bytes() const override { return 8.0 * static_cast<double>(count_); }

 private:
  size_t count_;
  Activation activation_;
  bool in_place_;
  Random random_;
  GappedMatrix x_;
  OutputPair output_;
};

class ScaleColumnsCase : public KernelCase {
 public:
  ScaleColumnsCase(size_t rows, size_t columns, size_t gap)
      : random_(rows * 100 + columns),
        x_(rows, columns, gap, random_),
        scale_(1, columns, 0, random_),
        output_(rows, columns, gap / 2) {}
  void run(const KernelTable& kernels) override { kernels.scale_columns(args(output_.actual)); }
  void run_reference() override { reference::scale_columns(args(output_.expected)); }
  std::string compare() override {
    return output_.compare([](size_t, size_t) { return 0.0; });
  }
  double flops() const override { return static_cast<double>(x_.rows * x_.columns); }
  double bytes() const override { return 8.0 * flops(); }

 private:
  ScaleColumnsArgs args(GappedMatrix& y) const {
    return {x_.data(), x_.stride, scale_.data(), y.data(), y.stride, x_.rows, x_.columns};
  }
  Random random_;
  GappedMatrix x_, scale_;
  OutputPair output_;
};

}  // namespace

std::vector<CaseFactory> activate_cases() {
  std::vector<CaseFactory> cases;
  constexpr const char* kNames[] = {"none", "relu", "silu", "gelu", "sigmoid"};
  for (size_t which = 0; which < std::size(kNames); ++which) {
    const auto activation = static_cast<Activation>(which);
    const auto add = [&](size_t count, bool in_place, bool model_shape) {
      cases.push_back({std::string(kNames[which]) + " " + std::to_string(count), model_shape, [=] {
                         return std::make_unique<ActivateCase>(count, activation, in_place);
                       }});
    };
    for (size_t count = 0; count <= 67; ++count) add(count, count % 2 == 1, false);
    add(5000, false, activation == Activation::kGelu);
  }
  return cases;
}

std::vector<CaseFactory> scale_columns_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t rows, size_t columns, size_t gap, bool model_shape) {
    cases.push_back({std::to_string(rows) + "x" + std::to_string(columns), model_shape,
                     [=] { return std::make_unique<ScaleColumnsCase>(rows, columns, gap); }});
  };
  for (size_t columns = 1; columns <= 49; ++columns) add(columns % 4, columns, columns % 7, false);
  add(49, 2048, 16, true);  // the modulator's gate over the grid
  return cases;
}

}  // namespace lightcap::internal::testing
