// Rounding of weights that makes good for its errors: what one weight loses, those that are rounded
// after it take over as far as inputs go together, and the bias takes the rest (Frantar et al.,
// GPTQ, with the bias as one more weight).
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_COMPENSATION_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_COMPENSATION_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/runtime/value_tap.h"

namespace lightcap::internal {

// The second moments of what a convolution's weights are multiplied with: of its windows in the
// order of depth, channels innermost, and of the bias's 1 behind them.
class InputMoments {
 public:
  // Adds some of the operation's windows, spread evenly over the picture.
  void add(const TappedOperation& operation, size_t windows);

  size_t depth() const { return depth_; }
  bool empty() const { return sums_.empty(); }
  // The sum of products of inputs i <= j; `depth()` stands for the 1.
  double at(size_t i, size_t j) const { return sums_[i * (depth_ + 1) + j]; }

 private:
  void read_window(const TappedOperation& operation, size_t pixel);

  size_t depth_ = 0;
  std::vector<double> sums_;  // [depth + 1][depth + 1], the upper triangle
  std::vector<double> window_;
};

// The shares of an error in a weight that others can take over.
class Compensation {
 public:
  // The moments' input k is weight places[k] of `depth`; the others are never read.
  Compensation(const InputMoments& moments, std::span<const size_t> places, size_t depth);

  // out = the integers of a row in this scale, of which pairs keep the rule (kLargestPair). Returns
  // the bias that goes with them.
  double round(std::span<const double> row, double bias, float scale, std::span<int8_t> out) const;

 private:
  size_t size_;                 // depth + 1
  std::vector<double> shares_;  // [size][size], upper triangle: error of k to be taken from j > k
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_COMPENSATION_H_
