// Weights as int8 with a scale for each output.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_WEIGHT_ROWS_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_WEIGHT_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lightcap::internal {

// The largest sum, in absolute value, of two neighbouring weights 2k and 2k + 1 of one sign
// (kernels/kernels.h says why).
inline constexpr int kLargestPair = 128;

// Rows of weights in the order of depth, which for a convolution is channels innermost.
struct Int8Rows {
  size_t depth = 0;
  std::vector<int8_t> values;  // [outputs][depth]
  std::vector<float> scales;   // [outputs]: values * scale are the weights
  std::vector<int32_t> sums;   // [outputs] of values

  size_t outputs() const { return scales.size(); }
  std::span<const int8_t> row(size_t output) const {
    return std::span(values).subspan(output * depth, depth);
  }
};

// The smallest scale with which a row keeps to [-127, 127] and the rule of pairs; 0 for a row of
// zeros.
float weight_scale(std::span<const double> row);
// out = the row's integers for this scale, or a slightly larger one where rounding would break the
// rule of pairs. Returns the scale used.
float quantize_row(std::span<const double> row, float scale, std::span<int8_t> out);

// Appends a row in its smallest scale; zeros get the scale 1.
void append_row(std::span<const double> row, Int8Rows& rows);
// Appends a row in a scale that is large enough.
void append_row(std::span<const double> row, float scale, Int8Rows& rows);
// Appends integers as they are.
void append_values(std::span<const int8_t> values, float scale, Int8Rows& rows);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_WEIGHT_ROWS_H_
