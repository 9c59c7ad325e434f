#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/integer_case.h"
#include "tests/kernels/matrix_case.h"

namespace lightcap::internal::testing {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool same_bits(float x, float y) {
  return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
}

class QuantizeRowsCase : public KernelCase {
 public:
  QuantizeRowsCase(size_t rows, size_t columns, size_t gap, float size)
      : random_(rows + 100 * columns),
        x_(rows, columns, gap, random_, size),
        scales_(1, rows),
        actual_(2 * rows * panel_depth(columns, DataType::kI8)),
        expected_(actual_.size()) {}

  void run(const KernelTable& kernels) override {
    kernels.quantize_rows(args(actual_, scales_.actual));
  }
  void run_reference() override {
    reference::quantize_rows(args(expected_, scales_.expected));
    forget();
  }
  std::string compare() override {
    std::string difference;
    const size_t row_bytes = 2 * panel_depth(x_.columns, DataType::kI8);
    for (size_t i = 0; i < x_.rows && difference.empty(); ++i) {
      const float actual = scales_.actual.data()[i], expected = scales_.expected.data()[i];
      if (std::isnan(expected) ? !std::isnan(actual) : !same_bits(actual, expected))
        difference = "the scale of row " + std::to_string(i) + " is " + std::to_string(actual) +
                     ", expected " + std::to_string(expected);
      if (std::isnan(expected)) continue;  // the planes may hold anything
      for (size_t k = 0; k < row_bytes && difference.empty(); ++k) {
        if (actual_[i * row_bytes + k] == expected_[i * row_bytes + k]) continue;
        difference = "byte " + std::to_string(k) + " of row " + std::to_string(i) + " is " +
                     std::to_string(actual_[i * row_bytes + k]) + ", expected " +
                     std::to_string(expected_[i * row_bytes + k]);
      }
    }
    forget();
    return difference;
  }
  double flops() const override { return 3.0 * static_cast<double>(x_.rows * x_.columns); }
  double bytes() const override { return 6.0 * static_cast<double>(x_.rows * x_.columns); }

 protected:
  void forget() {
    for (size_t i = 0; i < actual_.size(); ++i)
      actual_[i] = static_cast<uint8_t>(expected_[i] ^ 0x55);
    std::fill_n(scales_.actual.data(), x_.rows, -1.0f);
  }
  QuantizeRowsArgs args(GuardedBytes& planes, GappedMatrix& scales) const {
    return {.x = x_.data(),
            .x_stride = x_.stride,
            .planes = planes.data(),
            .scales = scales.data(),
            .rows = x_.rows,
            .columns = x_.columns};
  }
  Random random_;
  GappedMatrix x_;
  OutputPair scales_;
  GuardedBytes actual_, expected_;
};

// Rows of zeros, of numbers that are too small to be told from them and a little larger, of the
// largest there are, of halves, with infinities and NaN.
class SpecialRowsCase : public QuantizeRowsCase {
 public:
  explicit SpecialRowsCase(size_t columns) : QuantizeRowsCase(10, columns, 3, 1) {
    const float denormal = std::numeric_limits<float>::denorm_min();
    const float values[][2] = {{0, -0.0f},
                               {denormal, -denormal},
                               {kSmallestWide, -kSmallestWide},
                               {std::nextafter(kSmallestWide, 0.0f), 0},
                               {std::numeric_limits<float>::max(), -1e38f},
                               {kNaN, 1},
                               {-kInfinity, 1},
                               {kInfinity, kNaN},
                               {-1, 0.5f}};
    for (size_t i = 0; i < std::size(values); ++i) {
      for (size_t k = 0; k < columns; ++k) x_.row(i)[k] = values[i][1];
      x_.row(i)[columns / 2] = values[i][0];
    }
    // Halfway between two integers: v is rounded to the even one.
    for (size_t k = 0; k < columns; ++k)
      x_.row(9)[k] = (static_cast<float>(k) + 0.5f) * (k % 2 == 0 ? 1.0f : -1.0f);
    x_.row(9)[columns / 2] = kLargestWide;
  }
};

// Planes and scales of random rows.
struct WideRows {
  GuardedBytes planes;
  GuardedFloats scales;

  WideRows(size_t rows, size_t depth, Random& random)
      : planes(2 * rows * panel_depth(depth, DataType::kI8)), scales(rows) {
    const size_t stride = panel_depth(depth, DataType::kI8);
    fill_bytes(random, planes.data(), planes.size());
    for (size_t i = 0; i < 2 * rows; ++i) {
      for (size_t k = depth; k < stride; ++k) planes[i * stride + k] = 128;
    }
    for (size_t i = 0; i < rows; ++i) scales[i] = (random.uniform() + 1.5f) / kLargestWide;
  }
};

struct WideShape {
  size_t rows, depth, columns;
  size_t gap = 0;
  EpilogueKind epilogue = {};

  std::string name() const {
    return std::to_string(rows) + "x" + std::to_string(depth) + " n" + std::to_string(columns) +
           epilogue.name();
  }
};

// Up to the activation the result has the contract's bits; an activation's own error is allowed.
class WideGemmCase : public KernelCase {
 public:
  explicit WideGemmCase(const WideShape& shape)
      : shape_(shape),
        random_(shape.rows + 100 * shape.columns + 10000 * shape.depth),
        rows_(shape.rows, shape.depth, random_),
        weights_(shape.columns, shape.depth, random_, 1.0f),
        bias_(1, shape.columns, 0, random_),
        residual_(shape.rows, shape.columns, shape.gap, random_),
        output_(shape.rows, shape.columns, shape.gap) {}

  void run(const KernelTable& kernels) override { kernels.wide_gemm(args(output_.actual)); }
  void run_reference() override { reference::wide_gemm(args(output_.expected)); }
  std::string compare() override {
    const Activation activation = shape_.epilogue.activation;
    const bool exact = activation == Activation::kNone || activation == Activation::kRelu;
    return output_.compare([&](size_t i, size_t j) {
      if (exact) return 0.0;
      // As product_case.cc has it: 8 roundings of the activation, and one of a residual's sum.
      const double after = std::fabs(static_cast<double>(output_.expected.row(i)[j]));
      return 8 * kUnit * (after + 2) + kUnit * (after + 1);
    });
  }
  bool multiplies_integers() const override { return true; }
  double flops() const override {
    return 4.0 * static_cast<double>(shape_.rows * shape_.depth * shape_.columns);
  }
  double bytes() const override {
    return static_cast<double>(weights_.matrix().bytes() + 2 * shape_.rows * shape_.depth +
                               4 * shape_.rows * shape_.columns);
  }

 private:
  WideGemmArgs args(GappedMatrix& c) const {
    const Residual kind = shape_.epilogue.residual;
    const bool in_place = kind == Residual::kInPlaceBefore || kind == Residual::kInPlaceAfter;
    if (in_place) {
      for (size_t i = 0; i < c.rows; ++i) std::copy_n(residual_.row(i), c.columns, c.row(i));
    }
    Epilogue epilogue;
    if (shape_.epilogue.bias) epilogue.bias = bias_.data();
    if (kind != Residual::kNone) epilogue.residual = in_place ? c.data() : residual_.data();
    epilogue.residual_stride = c.stride;
    epilogue.residual_after = kind == Residual::kAfter || kind == Residual::kInPlaceAfter;
    epilogue.activation = shape_.epilogue.activation;
    return {.planes = rows_.planes.data(),
            .scales = rows_.scales.data(),
            .weights = weights_.matrix(),
            .c = c.data(),
            .c_stride = c.stride,
            .rows = shape_.rows,
            .epilogue = epilogue,
            .next_panels = prefetched_panels(weights_.matrix(), shape_.rows)};
  }

  WideShape shape_;
  Random random_;
  WideRows rows_;
  RandomQuads weights_;
  GappedMatrix bias_, residual_;
  OutputPair output_;
};

class WideHeadLogitsCase : public KernelCase {
 public:
  WideHeadLogitsCase(size_t rows, size_t depth, size_t words, size_t gap)
      : random_(rows + 100 * words),
        rows_(rows, depth, random_),
        weights_(words, depth, random_, 5.0f),
        bias_(1, words, 0, random_),
        logits_(rows, words, gap),
        maximum_(1, rows),
        exp_sum_(1, rows) {}

  void run(const KernelTable& kernels) override {
    kernels.wide_head_logits(args(logits_.actual, maximum_.actual, exp_sum_.actual));
  }
  void run_reference() override {
    reference::wide_head_logits(args(logits_.expected, maximum_.expected, exp_sum_.expected));
  }
  // Logits and maxima have the contract's bits; a sum of exponentials has their error.
  std::string compare() override {
    const auto words = static_cast<double>(logits_.actual.columns);
    double largest = 0;
    for (size_t i = 0; i < logits_.expected.rows; ++i) {
      for (size_t w = 0; w < logits_.expected.columns; ++w)
        largest = std::max(largest, std::fabs(static_cast<double>(logits_.expected.row(i)[w])));
    }
    std::string difference = maximum_.compare([](size_t, size_t) { return 0.0; });
    if (difference.empty()) {
      difference = exp_sum_.compare([&](size_t, size_t i) {
        return static_cast<double>(exp_sum_.expected.data()[i]) * kUnit * (words + 4 + 4 * largest);
      });
    }
    const std::string wrong_logits = logits_.compare([](size_t, size_t) { return 0.0; });
    return difference.empty() ? wrong_logits : difference;
  }
  bool multiplies_integers() const override { return true; }
  double flops() const override {
    return 4.0 * static_cast<double>(logits_.actual.rows * weights_.matrix().depth *
                                     logits_.actual.columns);
  }
  double bytes() const override { return static_cast<double>(weights_.matrix().bytes()); }

 private:
  WideHeadLogitsArgs args(GappedMatrix& logits, GappedMatrix& maximum,
                          GappedMatrix& exp_sum) const {
    return {.planes = rows_.planes.data(),
            .scales = rows_.scales.data(),
            .weights = weights_.matrix(),
            .bias = bias_.data(),
            .logits = logits.data(),
            .logits_stride = logits.stride,
            .maximum = maximum.data(),
            .exp_sum = exp_sum.data(),
            .rows = logits.rows};
  }
  Random random_;
  WideRows rows_;
  RandomQuads weights_;
  GappedMatrix bias_;
  OutputPair logits_, maximum_, exp_sum_;
};

}  // namespace

std::vector<CaseFactory> quantize_rows_cases() {
  std::vector<CaseFactory> cases;
  for (size_t columns = 1; columns <= 70; ++columns) {
    const float size = columns % 3 == 0 ? 1 : columns % 3 == 1 ? 1e-20f : 3e30f;
    cases.push_back({std::to_string(columns % 5 + 1) + "x" + std::to_string(columns), false, [=] {
                       return std::make_unique<QuantizeRowsCase>(columns % 5 + 1, columns,
                                                                 columns % 3, size);
                     }});
  }
  for (const size_t columns : {1u, 7u, 40u, 312u})
    cases.push_back({"special rows of " + std::to_string(columns), false,
                     [columns] { return std::make_unique<SpecialRowsCase>(columns); }});
  for (const size_t columns : {312u, 1200u}) {
    for (const size_t rows : {3u, 89u}) {
      cases.push_back({std::to_string(rows) + "x" + std::to_string(columns), true,
                       [=] { return std::make_unique<QuantizeRowsCase>(rows, columns, 0, 1.0f); }});
    }
  }
  return cases;
}

std::vector<CaseFactory> wide_gemm_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const WideShape& shape, bool model_shape = false) {
    cases.push_back(
        {shape.name(), model_shape, [shape] { return std::make_unique<WideGemmCase>(shape); }});
  };
  size_t i = 0;
  for (size_t rows = 1; rows <= kMaxTileRows + 1; ++rows) {
    for (size_t columns = 1; columns <= 65; ++columns, ++i) {
      // 7 and 50 have no common factor: every epilogue meets every kind of tail.
      add({rows, i % 41 + 1, columns, i % 5, EpilogueKind::nth(7 * i)});
    }
  }
  for (size_t kind = 0; kind < EpilogueKind::kCount; ++kind) {
    for (const size_t rows : {1u, 3u, 7u}) {
      add({rows, 312, 128, 0, EpilogueKind::nth(kind)});
      add({rows, 37, 43, 3, EpilogueKind::nth(kind)});
    }
  }
  add({0, 3, 5, 0, {}});
  add({5, 3, 0, 0, {}});
  add({3, 9000, 20, 0, {}});  // so deep that a plane's sum is rounded
  constexpr EpilogueKind kPlain = {};
  constexpr EpilogueKind kGelu = {.activation = Activation::kGelu};
  const WideShape shapes[] = {
      {1, 312, 312, 0, kPlain},  {1, 312, 1200, 0, kGelu},  {3, 312, 936, 0, kPlain},
      {3, 312, 1200, 0, kGelu},  {3, 1200, 312, 0, kPlain}, {20, 312, 1200, 0, kGelu},
      {89, 312, 1200, 0, kGelu}, {89, 312, 936, 0, kPlain}, {89, 1200, 312, 0, kPlain}};
  for (const WideShape& shape : shapes) add(shape, true);
  return cases;
}

std::vector<CaseFactory> wide_head_logits_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t rows, size_t depth, size_t words, size_t gap, bool model_shape) {
    cases.push_back(
        {std::to_string(rows) + " rows x " + std::to_string(depth) + " n" + std::to_string(words),
         model_shape,
         [=] { return std::make_unique<WideHeadLogitsCase>(rows, depth, words, gap); }});
  };
  for (size_t n = 1; n <= 66; ++n) {
    add(n % 5 + 1, n % 13 + 1, n, n % 3, false);
    if (n <= kMaxHeadRows) add(n, 9, 35, n % 2, false);
  }
  add(1, 312, 4096, 0, true);
  add(3, 312, 4096, 0, true);   // greedy: three branches
  add(15, 312, 4096, 0, true);  // five beams
  return cases;
}

}  // namespace lightcap::internal::testing
