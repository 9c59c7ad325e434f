#include "weights_converter/quantizer/compensation.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "engine/runtime/ops.h"
#include "weights_converter/quantizer/weight_rows.h"

namespace lightcap::internal {
namespace {

constexpr double kLargestWeight = 127;
// Added to each input's energy, as a part of the mean: few windows say little of how inputs go
// together.
constexpr double kDamping = 0.01;

// In place: an upper triangular R with H = R R^T, of the symmetric H in the upper triangle.
void factorize(std::vector<double>& h, size_t n) {
  for (size_t k = n; k-- > 0;) {
    const double root = std::sqrt(std::max(h[k * n + k], 1e-300));
    for (size_t i = 0; i <= k; ++i) h[i * n + k] /= root;
    // Columns are strided: a copy makes the inner loop one over neighbours.
    std::vector<double> column(k);
    for (size_t i = 0; i < k; ++i) column[i] = h[i * n + k];
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = i; j < k; ++j) h[i * n + j] -= column[i] * column[j];
    }
  }
}

// In place: the inverse of an upper triangular matrix.
void invert(std::vector<double>& r, size_t n) {
  for (size_t i = n; i-- > 0;) {
    double* const row = r.data() + i * n;
    const double own = 1 / row[i];
    const std::vector<double> old(row, row + n);
    std::fill(row + i, row + n, 0.0);
    row[i] = own;
    for (size_t k = i + 1; k < n; ++k) {
      const double factor = -own * old[k];
      const double* const below = r.data() + k * n;
      for (size_t j = k; j < n; ++j) row[j] += factor * below[j];
    }
  }
}

}  // namespace

void InputMoments::read_window(const TappedOperation& operation, size_t pixel) {
  const Conv& conv = *operation.conv;
  const Tensor& input = operation.input;
  const size_t y = pixel / operation.output.width, x = pixel % operation.output.width;
  double* next = window_.data();
  for (size_t tap = 0; tap < conv.kernel * conv.kernel; ++tap, next += conv.in) {
    // Beyond the top and the left the subtraction wraps around, to beyond the bottom and the right.
    const size_t row = y * conv.stride + tap / conv.kernel - conv.padding;
    const size_t column = x * conv.stride + tap % conv.kernel - conv.padding;
    if (row >= input.height || column >= input.width) {
      std::fill_n(next, conv.in, 0.0);
    } else {
      std::copy_n(input.data + row * input.row_stride + column * input.pixel_stride, conv.in, next);
    }
  }
  *next = 1;
}

void InputMoments::add(const TappedOperation& operation, size_t windows) {
  const size_t pixels = operation.output.height * operation.output.width;
  depth_ = operation.conv->weights.depth;
  const size_t n = depth_ + 1;
  sums_.resize(n * n);
  window_.resize(n);
  windows = std::min(windows, pixels);
  for (size_t i = 0; i < windows; ++i) {
    read_window(operation, (2 * i + 1) * pixels / (2 * windows));
    for (size_t a = 0; a < n; ++a) {
      const double value = window_[a];
      if (value == 0) continue;
      double* const row = sums_.data() + a * n;
      for (size_t b = a; b < n; ++b) row[b] += value * window_[b];
    }
  }
}

Compensation::Compensation(const InputMoments& moments, std::span<const size_t> places,
                           size_t depth)
    : size_(depth + 1), shares_(size_ * size_) {
  const auto place = [&](size_t k) { return k == moments.depth() ? depth : places[k]; };
  double energy = 0;
  for (size_t k = 0; k < moments.depth(); ++k) energy += moments.at(k, k);
  const double damping = std::max(
      kDamping * energy / static_cast<double>(std::max<size_t>(moments.depth(), 1)), 1e-30);
  for (size_t i = 0; i <= moments.depth(); ++i) {
    for (size_t j = i; j <= moments.depth(); ++j) {
      const size_t a = std::min(place(i), place(j)), b = std::max(place(i), place(j));
      shares_[a * size_ + b] = moments.at(i, j);
    }
  }
  for (size_t k = 0; k < depth; ++k) shares_[k * size_ + k] += damping;
  factorize(shares_, size_);
  invert(shares_, size_);
  for (size_t k = 0; k < size_; ++k) {
    const double own = 1 / shares_[k * size_ + k];
    for (size_t j = k; j < size_; ++j) shares_[k * size_ + j] *= own;
  }
}

double Compensation::round(std::span<const double> row, double bias, float scale,
                           std::span<int8_t> out) const {
  std::vector<double> left(row.begin(), row.end());
  left.push_back(bias);
  for (size_t k = 0; k < row.size(); ++k) {
    double lowest = -kLargestWeight, highest = kLargestWeight;
    if (k % 2 == 1 && out[k - 1] > 0)
      highest = std::min(highest, double{kLargestPair} - out[k - 1]);
    if (k % 2 == 1 && out[k - 1] < 0) lowest = std::max(lowest, -double{kLargestPair} - out[k - 1]);
    const double value = std::clamp(std::nearbyint(left[k] / double{scale}), lowest, highest);
    out[k] = static_cast<int8_t>(value);
    const double error = left[k] - double{scale} * value;
    const double* const shares = shares_.data() + k * size_;
    for (size_t j = k + 1; j < size_; ++j) left[j] -= error * shares[j];
  }
  return left.back();
}

}  // namespace lightcap::internal
