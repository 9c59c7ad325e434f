// 3x3 convolutions by Winograd's filtering, see kernels/simd/winograd.inl and integer_winograd.inl.
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

struct IntegerWinogradConv {
  const Conv& weights;
  const WinogradWeights& winograd;  // of these weights, prepared
  const ByteTensor& input;
  IntegerOutput output;  // of the input's height and width, with dense rows
  size_t output_pixel_stride;
  IntegerEpilogue epilogue;
};

// Computes conv.output. Takes scratch of the arena, whose size depends on the shapes alone.
void winograd_conv2d(const Runtime& runtime, const WinogradConv& conv);
void winograd_conv2d(const Runtime& runtime, const IntegerWinogradConv& conv);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_CONV_H_
