// The flow of activations through the two networks, seen from outside: by the memory that their
// operations read and write. So nothing here describes the graph a second time.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_DATA_FLOW_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_DATA_FLOW_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/runtime/ops.h"
#include "engine/runtime/value_tap.h"

namespace lightcap::internal {

// In the place of a grid: numbers that stay floats, or a residual that there is none of.
inline constexpr size_t kNoGrid = SIZE_MAX;
// In the place of a grid: the picture itself.
inline constexpr size_t kPictureGrid = SIZE_MAX - 1;

// A convolution and the grids of what it reads and writes.
struct ConvFlow {
  std::string name;  // the checkpoint's module
  Activation activation = Activation::kNone;
  size_t input = kNoGrid;   // or kPictureGrid
  size_t output = kNoGrid;  // kNoGrid: its output stays floats
  size_t residual = kNoGrid;
  bool residual_after = false;
  // The convolutions whose outputs it reads side by side, if only pooled and moved in between; none
  // for the picture.
  std::vector<std::string> sources;
  // The convolution whose output is added to this one's sums, and read by nobody else: the integer
  // graph computes both as one. Empty where there is none.
  std::string shortcut;
  bool is_shortcut = false;  // it is that of another
};

// A grid is the scale and zero of all values that must share one: those that are read together,
// those that pooling and upsampling only move, and the chain of residuals behind an activation.
struct DataFlow {
  std::vector<ConvFlow> convs;            // in the order in which they run
  std::vector<size_t> grid_of_operation;  // of each operation but linear ones, in that order
  size_t grids = 0;
};

// Watches one run of the detector and the image encoder.
class FlowTap final : public ValueTap {
 public:
  void after(const TappedOperation& operation) override;
  // The flow of the run seen. Throws Error(kInternal) where an operation read memory that none had
  // written.
  DataFlow flow() const;

 private:
  // The value that an operation wrote.
  struct Value {
    TappedOperation::Kind kind;
    std::string_view name;
    Activation activation = Activation::kNone;
    bool residual_after = false;
    size_t input = kNoGrid, residual = kNoGrid;  // values
    std::vector<size_t> sources;  // the convolutions' values whose channels these are read from
    size_t reads = 0, residual_reads = 0;
    size_t last_residual_reader = kNoGrid;
  };
  // A value that memory still holds.
  struct Place {
    Tensor where;
    size_t value;
  };

  std::vector<size_t> values_in(const Tensor& view) const;
  void read(const Tensor& view, Value& reader);
  void write(const Tensor& view, size_t value);
  size_t root(size_t value) const;
  void join(size_t a, size_t b);

  std::vector<Value> values_;
  std::vector<Place> places_;
  std::vector<size_t> parents_;  // of values, as a forest of what shares a grid
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_DATA_FLOW_H_
