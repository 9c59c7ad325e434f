// A 3x3 convolution by Winograd's filtering, see kernels/simd/winograd.inl.
#ifndef LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_CONV_H_
#define LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_CONV_H_

#include "engine/runtime/ops.h"

namespace lightcap::internal {

struct WinogradConv {
  const Conv& weights;
  const WinogradWeights& winograd;  // of these weights, prepared
  const Tensor& input;
  const Tensor& output;  // of the input's height and width, or half of each where it is pooled
  Epilogue epilogue;
  bool pooled;  // the output is the means of 2 x 2 pixels
};

// Computes conv.output. Takes scratch of the arena, whose size depends on the shapes alone.
void winograd_conv2d(const Runtime& runtime, const WinogradConv& conv);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_CONV_H_
