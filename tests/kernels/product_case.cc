#include "tests/kernels/product_case.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/pack.h"

namespace lightcap::internal::testing {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kUnit = std::numeric_limits<float>::epsilon() / 2;  // a rounding's relative error

// The factor by which an activation can magnify the error of its argument: its steepest slope.
double slope(Activation activation) {
  switch (activation) {
    case Activation::kNone:
    case Activation::kRelu:
      return 1;
    case Activation::kSilu:
      return 1.1;
    case Activation::kGelu:
      return 1.13;
    case Activation::kSigmoid:
      return 0.25;
  }
  return 1;
}

// The error that computing the activation itself adds, for |x| <= magnitude. exp and erf are good
// to some 2 units, and 3 to 4 operations follow.
double own_error(Activation activation, double magnitude) {
  switch (activation) {
    case Activation::kNone:
    case Activation::kRelu:
      return 0;
    case Activation::kSilu:
    case Activation::kGelu:
      return 8 * kUnit * magnitude;
    case Activation::kSigmoid:
      return 8 * kUnit;
  }
  return 0;
}

}  // namespace

EpilogueKind EpilogueKind::nth(size_t i) {
  return {i % 2 == 0, static_cast<Residual>(i / 2 % 5), static_cast<Activation>(i / 10 % 5)};
}

std::string EpilogueKind::name() const {
  constexpr const char* kResiduals[] = {"", " +residual", " residual after", " +itself",
                                        " itself after"};
  constexpr const char* kActivations[] = {"", " relu", " silu", " gelu", " sigmoid"};
  return std::string(bias ? " +bias" : "") + kResiduals[static_cast<size_t>(residual)] +
         kActivations[static_cast<size_t>(activation)];
}

ProductOutput::ProductOutput(const Shape& shape, const EpilogueKind& kind, Random& random)
    : shape_(shape),
      kind_(kind),
      actual_(strided_floats(shape.rows, shape.columns, shape.stride)),
      expected_(strided_floats(shape.rows, shape.columns, shape.stride)),
      bias_(shape.columns),
      residual_(kind.residual == Residual::kNone
                    ? 0
                    : strided_floats(shape.rows, shape.columns, shape.stride)) {
  random.fill(bias_.data(), 1, shape.columns, shape.columns);
  if (kind.residual != Residual::kNone)
    random.fill(residual_.data(), shape.rows, shape.columns, shape.stride);
}

bool ProductOutput::in_place() const {
  return kind_.residual == Residual::kInPlaceBefore || kind_.residual == Residual::kInPlaceAfter;
}

float* ProductOutput::prepared(GuardedFloats& output) const {
  if (in_place()) std::copy_n(residual_.data(), residual_.size(), output.data());
  return output.data();
}

Epilogue ProductOutput::epilogue(const float* output) const {
  Epilogue epilogue;
  if (kind_.bias) epilogue.bias = bias_.data();
  if (kind_.residual != Residual::kNone) {
    epilogue.residual = in_place() ? output : residual_.data();
    epilogue.residual_stride = shape_.stride;
  }
  epilogue.residual_after =
      kind_.residual == Residual::kAfter || kind_.residual == Residual::kInPlaceAfter;
  epilogue.activation = kind_.activation;
  return epilogue;
}

double ProductOutput::bound(size_t row, size_t column, size_t depth,
                            double sum_of_magnitudes) const {
  const Epilogue parts = epilogue(nullptr);
  double magnitude = sum_of_magnitudes;
  if (kind_.bias) magnitude += std::fabs(static_cast<double>(bias_[column]));
  double residual = 0;
  if (kind_.residual != Residual::kNone) {
    residual = std::fabs(
        static_cast<double>(residual_[(shape_.first_row + row) * shape_.stride + column]));
  }
  if (!parts.residual_after) magnitude += residual;
  // Two more additions than products: bias and residual.
  double error = dot_bound(depth + 2, magnitude) * slope(kind_.activation) +
                 own_error(kind_.activation, magnitude);
  if (parts.residual_after) error += 2 * kUnit * (magnitude + 1 + residual);
  return error;
}

std::string ProductOutput::check_other_rows() const {
  for (size_t i = 0; i < shape_.rows; ++i) {
    if (i >= shape_.first_row && i < shape_.first_row + shape_.used_rows) continue;
    for (size_t j = 0; j < shape_.columns; ++j) {
      const float value = actual_[i * shape_.stride + j];
      const bool untouched =
          in_place() ? value == residual_[i * shape_.stride + j] : std::isnan(value);
      if (!untouched) return "wrote to row " + std::to_string(i) + ", which was not asked for";
    }
  }
  return {};
}

std::string ProductOutput::compare(size_t depth, const std::vector<double>& row_norms,
                                   const std::vector<double>& column_norms) {
  const size_t first = shape_.first_row * shape_.stride;
  std::string difference;
  if (shape_.used_rows != 0 && shape_.columns != 0) {
    difference = compare_floats(
        {actual_.data() + first, shape_.stride, expected_.data() + first, shape_.stride,
         shape_.used_rows, shape_.columns},
        [&](size_t i, size_t j) { return bound(i, j, depth, row_norms[i] * column_norms[j]); });
  }
  if (difference.empty())
    difference = check_gaps(actual_.data(), shape_.rows, shape_.columns, shape_.stride);
  if (difference.empty()) difference = check_other_rows();
  std::fill_n(actual_.data(), actual_.size(), kNaN);
  return difference;
}

std::vector<double> output_norms(const PackedMatrix& matrix) {
  std::vector<double> norms(matrix.outputs);
  std::vector<float> weights(matrix.depth);
  for (size_t j = 0; j < matrix.outputs; ++j) {
    unpack_row(matrix, j, weights.data());
    double sum = 0;
    for (const float weight : weights) sum += static_cast<double>(weight) * weight;
    norms[j] = std::sqrt(sum);
  }
  return norms;
}

namespace {

// |x| < 1 as IEEE binary16, rounded toward zero.
uint16_t narrow_f16(float x) {
  const double magnitude = std::fabs(static_cast<double>(x));
  const unsigned sign = std::signbit(x) ? 0x8000u : 0u;
  constexpr int kLowest = -14;  // exponent of the smallest normal number
  if (magnitude < std::ldexp(1.0, kLowest))
    return static_cast<uint16_t>(sign | static_cast<unsigned>(std::ldexp(magnitude, 24)));
  const int exponent = std::ilogb(magnitude);
  const auto mantissa = static_cast<unsigned>(std::ldexp(magnitude, 10 - exponent));
  return static_cast<uint16_t>(sign | (static_cast<unsigned>(exponent + 15) << 10) |
                               (mantissa & 0x3ffu));
}

uint16_t narrow(float x, DataType type) {
  if (type == DataType::kF16) return narrow_f16(x);
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
}

}  // namespace

RandomWeights::RandomWeights(size_t outputs, size_t depth, Random& random, DataType type)
    : memory_(panel_elements(outputs, depth) * data_type_bytes(type) / sizeof(float)),
      matrix_{memory_.data(), outputs, depth, type} {
  auto* halves = reinterpret_cast<uint16_t*>(memory_.data());
  for (size_t row = 0; row < panel_count(outputs) * depth; ++row) {
    const size_t first = row / depth * kPanelWidth;
    for (size_t lane = 0; lane < kPanelWidth; ++lane) {
      const size_t i = row * kPanelWidth + lane;
      const float weight = first + lane < outputs ? random.uniform() : 0.0f;
      if (type == DataType::kF32) {
        memory_[i] = weight;
      } else {
        halves[i] = narrow(i % 8 == 3 ? weight * 0x1p-15f : weight, type);
      }
    }
  }
}

std::vector<float> RandomWeights::widened() const {
  std::vector<float> panels(panel_elements(matrix_.outputs, matrix_.depth));
  const auto* halves = static_cast<const uint16_t*>(matrix_.data);
  for (size_t i = 0; i < panels.size(); ++i)
    panels[i] = matrix_.type == DataType::kF32   ? static_cast<const float*>(matrix_.data)[i]
                : matrix_.type == DataType::kF16 ? widen_f16(halves[i])
                                                 : widen_bf16(halves[i]);
  return panels;
}

}  // namespace lightcap::internal::testing
