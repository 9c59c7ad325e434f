// The grid of 8 bits that activations are rounded to, chosen from a histogram of them.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_ACTIVATION_GRID_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_ACTIVATION_GRID_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/runtime/tensor.h"

namespace lightcap::internal {

// A byte q stands for scale * (q - zero).
struct ActivationGrid {
  float scale = 1;
  int zero = 0;
  // Integer SiLU's last factor (IntegerEpilogue in kernels/kernels.h), with scale = 64 / factor; 0
  // where no SiLU writes to this grid.
  int silu_factor = 0;
};

// The grid whose steps come nearest to `scale`, with zero 0; where `has_silu`, one that SiLU's
// integers can write.
ActivationGrid grid_of_scale(double scale, bool has_silu);

struct ValueRange {
  float lowest = 0, highest = 0;  // 0 belongs to each range

  // False where a value is not finite; the range is of no use then.
  bool add(const Tensor& x);
};

// The counts of values in bins of equal width. Counts are whole, so neither the order of values nor
// who counted which matters.
class Histogram {
 public:
  static constexpr size_t kBins = 2048;

  explicit Histogram(const ValueRange& range);
  // Values beyond the range count in the outermost bins.
  void add(const Tensor& x);

  const ValueRange& range() const { return range_; }
  uint64_t count(size_t bin) const { return counts_[bin]; }
  double middle(size_t bin) const {
    return range_.lowest + (static_cast<double>(bin) + 0.5) * width_;
  }

 private:
  ValueRange range_;
  double width_;
  std::array<uint64_t, kBins> counts_ = {};
};

// The grid with the least squared error over the histogram, among those that reach to some part of
// the largest value: cutting off few large values makes all others finer. `has_silu` is for
// grid_of_scale().
ActivationGrid choose_grid(const Histogram& histogram, bool has_silu);

// x = what bytes of this grid stand for, nearest to x.
void round_to_grid(const ActivationGrid& grid, const Tensor& x);
// The same for means of bytes, which round halves up as BytePoolArgs has it.
void round_means_to_grid(const ActivationGrid& grid, const Tensor& x);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_ACTIVATION_GRID_H_
