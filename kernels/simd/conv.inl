// Direct convolution of floats.
#ifndef LIGHTCAP_KERNELS_SIMD_CONV_INL_
#define LIGHTCAP_KERNELS_SIMD_CONV_INL_

#include "kernels/simd/gemm.inl"
#include "kernels/simd/windows.inl"

namespace lightcap::internal {
namespace {

alignas(64) constexpr float kZeros[kMaxOutside] = {};

void conv(const ConvArgs& args) {
  if (args.pixels == 0) return;
  const Picture<float> picture = {.input = args.input,
                                  .row_stride = args.input_row_stride,
                                  .pixel_stride = args.input_pixel_stride,
                                  .height = args.height,
                                  .width = args.width,
                                  .channels = args.channels,
                                  .kernel_height = args.kernel_height,
                                  .kernel_width = args.kernel_width,
                                  .stride = args.stride,
                                  .padding = args.padding,
                                  .output_width = args.output_width,
                                  .outside = kZeros};
  const Output output = {args.output, args.output_pixel_stride, args.weights.outputs,
                         args.epilogue};
  with_windows(
      picture, args.first_pixel, [&](const auto& source) __attribute__((always_inline)) {
        multiply_packed(source, args.pixels, args.weights, args.next_panels,
                        part_of(output, args.first_pixel, 0));
      });
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_CONV_INL_
