#include "weights_converter/quantizer/activation_grid.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lightcap::internal {
namespace {

constexpr double kLargestByte = 255;
constexpr double kSiluMinimum = -0.27846454276107379;  // of x / (1 + exp(-x))
// SiLU's integers are in units of 1/512, and its last factor in units of 1 / 2^15.
constexpr double kSiluScale = 64;
constexpr double kLargestSiluFactor = 32767;

template <class F>
void for_each_row(const Tensor& x, F&& f) {
  for (size_t y = 0; y < x.height; ++y) {
    for (size_t column = 0; column < x.width; ++column)
      f(x.data + y * x.row_stride + column * x.pixel_stride);
  }
}

double squared_error(const Histogram& histogram, const ActivationGrid& grid) {
  const double scale = grid.scale;
  double sum = 0;
  for (size_t bin = 0; bin < Histogram::kBins; ++bin) {
    if (histogram.count(bin) == 0) continue;
    const double value = histogram.middle(bin);
    const double byte = std::clamp(std::nearbyint(value / scale) + grid.zero, 0.0, kLargestByte);
    const double error = value - scale * (byte - grid.zero);
    sum += static_cast<double>(histogram.count(bin)) * error * error;
  }
  return sum;
}

template <class Round>
void round_values(const ActivationGrid& grid, const Tensor& x, Round&& round) {
  const float lowest = static_cast<float>(-grid.zero);
  const float highest = static_cast<float>(kLargestByte) + lowest;
  for_each_row(x, [&](float* row) {
    for (size_t i = 0; i < x.channels; ++i)
      row[i] = grid.scale * std::clamp(round(row[i] / grid.scale), lowest, highest);
  });
}

}  // namespace

ActivationGrid grid_of_scale(double scale, bool has_silu) {
  ActivationGrid grid;
  if (has_silu) {
    const double factor = std::clamp(std::nearbyint(kSiluScale / scale), 1.0, kLargestSiluFactor);
    grid.silu_factor = static_cast<int>(factor);
    scale = kSiluScale / factor;
  }
  grid.scale = static_cast<float>(scale);
  return grid;
}

bool ValueRange::add(const Tensor& x) {
  bool finite = true;
  for_each_row(x, [&](const float* row) {
    float low = lowest, high = highest;
    bool all = true;
    for (size_t i = 0; i < x.channels; ++i) {
      low = std::min(low, row[i]);
      high = std::max(high, row[i]);
      all = all && std::abs(row[i]) <= std::numeric_limits<float>::max();
    }
    lowest = low, highest = high;
    finite = finite && all;
  });
  return finite;
}

Histogram::Histogram(const ValueRange& range)
    : range_(range),
      width_((static_cast<double>(range.highest) - static_cast<double>(range.lowest)) / kBins) {}

void Histogram::add(const Tensor& x) {
  if (width_ <= 0) {
    counts_[0] += x.height * x.width * x.channels;
    return;
  }
  // Equal values follow each other in ReLU's outputs: counts side by side do not wait for each
  // other.
  constexpr size_t kSideBySide = 4;
  std::vector<std::array<uint32_t, kBins>> counts(kSideBySide);
  const auto per_bin = static_cast<float>(1 / width_);
  const float lowest = range_.lowest;
  for_each_row(x, [&](const float* row) {
    for (size_t i = 0; i < x.channels; ++i) {
      const float place = std::clamp((row[i] - lowest) * per_bin, 0.0f, float{kBins - 1});
      ++counts[i % kSideBySide][static_cast<size_t>(place)];
    }
  });
  for (const auto& part : counts) {
    for (size_t bin = 0; bin < kBins; ++bin) counts_[bin] += part[bin];
  }
}

ActivationGrid choose_grid(const Histogram& histogram, bool has_silu) {
  const double highest = histogram.range().highest, lowest = -histogram.range().lowest;
  const bool is_signed = has_silu || lowest > 0;
  const double below = has_silu ? -kSiluMinimum : lowest;
  if (highest <= 0 && lowest <= 0) {  // nothing but zeros
    ActivationGrid grid = grid_of_scale(1 / kLargestByte, has_silu);
    if (has_silu)
      grid.zero = static_cast<int>(std::nearbyint(below / static_cast<double>(grid.scale)));
    return grid;
  }
  constexpr int kFactors = 36;
  constexpr double kSmallest = 0.3, kStep = 0.02;
  ActivationGrid best;
  double least = INFINITY;
  for (int i = 0; i < kFactors; ++i) {
    const double part = kSmallest + kStep * i;
    ActivationGrid grid = grid_of_scale((part * highest + below) / kLargestByte, has_silu);
    const auto try_zero = [&](double reach) {
      grid.zero = static_cast<int>(
          std::min(std::nearbyint(reach / static_cast<double>(grid.scale)), kLargestByte));
      const double error = squared_error(histogram, grid);
      if (error < least) least = error, best = grid;
    };
    if (!is_signed) {
      try_zero(0);
      continue;
    }
    try_zero(below);
    if (lowest > below) try_zero(lowest);  // sums behind SiLU go further down than SiLU
  }
  return best;
}

void round_to_grid(const ActivationGrid& grid, const Tensor& x) {
  round_values(grid, x, [](float value) { return std::nearbyint(value); });
}

void round_means_to_grid(const ActivationGrid& grid, const Tensor& x) {
  round_values(grid, x, [](float value) { return std::floor(value + 0.5f); });
}

}  // namespace lightcap::internal
