// The graph's layers, from bench/shapes, as problems to time.
#ifndef LIGHTCAP_BENCH_LAYERS_H_
#define LIGHTCAP_BENCH_LAYERS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime/ops.h"

namespace lightcap::internal::bench {

// A line of the file `stage`.txt.
struct LayerShape {
  std::string stage, name, kernel;
  size_t height = 0, width = 0, channels = 0, kernel_size = 0, stride = 0, out = 0;
};

// Reads the shapes of every file in `folder`. Throws Error(kInput) for a line that is not one.
std::vector<LayerShape> read_layer_shapes(const std::string& folder);

// Weights that no cache holds, and no machine lacks.
size_t cold_bytes();

// Convolutions and products, as the graph runs them on one thread. Inputs may be in the cache,
// where the layer before would have left them; weights are not: each run takes the next of so many
// copies that the last-level cache can't hold them.
class LayerProblem {
 public:
  // "gemm", "conv", "winograd2" or "winograd4", the last two maybe with "+pool"
  static bool handles(const std::string& kernel);
  // `kernel` may differ from the shape's: a convolution can go several ways.
  LayerProblem(const LayerShape& shape, const std::string& kernel);
  LayerProblem(const LayerProblem&) = delete;
  LayerProblem& operator=(const LayerProblem&) = delete;

  void run(const KernelTable& kernels);
  double flops() const { return 2 * work_.macs; }
  double bytes() const { return work_.bytes; }
  // How far Winograd's output is from direct convolution's: the largest difference over the root
  // mean square of the output. 0 for other kernels.
  double winograd_error(const KernelTable& kernels);

 private:
  void allocate();
  void compute(const Runtime& runtime, size_t copy) const;
  void add_plan();
  Runtime runtime(const KernelTable& kernels, size_t copy, Observer* observer = nullptr);
  PackedMatrix weights(size_t copy) const;
  size_t input_side(size_t side) const;

  const LayerShape shape_;
  const size_t tile_;    // Winograd's, or 0
  const bool pooled_;    // means of 2 x 2 in the output's place
  size_t panel_floats_;  // of one copy, multiples of a cache line
  size_t copies_;
  ThreadPool pool_{1};
  Arena arena_;
  Tensor input_, output_, pooled_output_;
  float* panels_ = nullptr;
  float* bias_ = nullptr;
  std::vector<ConvPlan> plans_;  // one a copy of the weights, for Winograd's filtering
  LayerWork work_;
  size_t next_ = 0;
};

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_LAYERS_H_
