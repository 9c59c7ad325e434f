// The encoder's and the detector's layers in int8, from bench/shapes, as problems to time.
#ifndef LIGHTCAP_BENCH_INTEGER_LAYERS_H_
#define LIGHTCAP_BENCH_INTEGER_LAYERS_H_

#include <string>
#include <vector>

#include "bench/layers.h"

namespace lightcap::internal::bench {

// A convolution of bytes as the graph runs it on one thread, with ReLU in the encoder and SiLU in
// the detector, whose last layers give floats. Each run takes the next of so many copies of the
// weights that the last-level cache can't hold them.
class IntegerLayerProblem {
 public:
  // Convolutions and 1 x 1 products of the stages that int8 models compute in integers. Stems are
  // padded to four channels.
  static bool handles(const LayerShape& shape);
  explicit IntegerLayerProblem(const LayerShape& shape);
  IntegerLayerProblem(const IntegerLayerProblem&) = delete;
  IntegerLayerProblem& operator=(const IntegerLayerProblem&) = delete;

  void run(const KernelTable& kernels);
  double operations() const { return operations_; }
  double bytes() const { return bytes_; }

 private:
  void allocate();
  void compute(const KernelTable& kernels, size_t copy);

  LayerShape shape_;
  bool is_float_;  // gives floats
  size_t depth_, panel_bytes_, copies_;
  double operations_, bytes_;
  ThreadPool pool_{1};
  Arena arena_;
  ByteTensor input_, output_;
  Tensor float_output_;
  int8_t* panels_ = nullptr;
  std::vector<float> scales_;
  std::vector<int32_t> sums_, bias_;
  size_t next_ = 0;
};

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_INTEGER_LAYERS_H_
