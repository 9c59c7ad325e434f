// The calibrator's hook: a tap sees the numbers that operations read and write, and may change what
// they wrote. Without one, an operation costs one branch more.
#ifndef LIGHTCAP_ENGINE_RUNTIME_VALUE_TAP_H_
#define LIGHTCAP_ENGINE_RUNTIME_VALUE_TAP_H_

#include <cstddef>

#include "engine/runtime/tensor.h"
#include "kernels/kernels.h"

namespace lightcap::internal {

struct Conv;
struct Linear;
template <class T>
struct FusedOf;

// One operation of fp32 (engine/runtime/ops.h). The views live during the call.
struct TappedOperation {
  enum class Kind { kConv, kLinear, kAveragePool, kMaxPool, kUpsample };

  Kind kind;
  // A linear layer's rows are a column of pixels.
  Tensor input, output;
  const Conv* conv = nullptr;             // of kConv alone
  const Linear* linear = nullptr;         // of kLinear alone
  const FusedOf<float>* fused = nullptr;  // of these two
};

// Must outlive the sessions that it watches. It is called on the thread that runs the graph, never
// while that plans, and sees every convolution materialise its output: sessions with a tap
// transform no weights. An exception that it throws ends the graph's run.
class ValueTap {
 public:
  // A residual that the output will overwrite is still there.
  virtual void before(const TappedOperation&) {}
  virtual void after(const TappedOperation&) = 0;

 protected:
  ~ValueTap() = default;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_VALUE_TAP_H_
