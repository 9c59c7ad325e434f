#include "weights_converter/quantizer/weight_rows.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

namespace lightcap::internal {
namespace {

constexpr double kLargestWeight = 127;

bool keeps_pairs(std::span<const int8_t> row) {
  for (size_t k = 0; k + 1 < row.size(); k += 2) {
    const int a = row[k], b = row[k + 1];
    if ((a < 0) == (b < 0) && std::abs(a + b) > kLargestPair) return false;
  }
  return true;
}

}  // namespace

float weight_scale(std::span<const double> row) {
  double largest = 0, largest_pair = 0;
  for (size_t k = 0; k < row.size(); ++k) {
    largest = std::max(largest, std::abs(row[k]));
    if (k % 2 == 0 && k + 1 < row.size() && (row[k] < 0) == (row[k + 1] < 0))
      largest_pair = std::max(largest_pair, std::abs(row[k] + row[k + 1]));
  }
  // Two roundings add less than 1 to a pair's sum.
  const double scale = std::max(largest / kLargestWeight, largest_pair / (kLargestPair - 0.5));
  // Weights below all that matters would need a scale that no float has.
  constexpr double kSmallestScale = 1e-30;
  return scale > 0 ? static_cast<float>(std::max(scale, kSmallestScale)) : 0;
}

float quantize_row(std::span<const double> row, float scale, std::span<int8_t> out) {
  while (true) {
    for (size_t k = 0; k < row.size(); ++k) {
      const double value = std::nearbyint(row[k] / static_cast<double>(scale));
      out[k] = static_cast<int8_t>(std::clamp(value, -kLargestWeight, kLargestWeight));
    }
    if (keeps_pairs(out.first(row.size()))) return scale;
    constexpr float kGrowth = 1 + 0x1p-12f;
    scale *= kGrowth;
  }
}

void append_row(std::span<const double> row, Int8Rows& rows) {
  const float scale = weight_scale(row);
  append_row(row, scale > 0 ? scale : 1, rows);
}

void append_row(std::span<const double> row, float scale, Int8Rows& rows) {
  std::vector<int8_t> values(row.size());
  scale = quantize_row(row, scale, values);
  append_values(values, scale, rows);
}

void append_values(std::span<const int8_t> values, float scale, Int8Rows& rows) {
  rows.depth = values.size();
  rows.values.insert(rows.values.end(), values.begin(), values.end());
  rows.scales.push_back(scale);
  rows.sums.push_back(std::accumulate(values.begin(), values.end(), int32_t{0}));
}

}  // namespace lightcap::internal
