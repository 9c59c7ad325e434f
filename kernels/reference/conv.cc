#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"
#include "kernels/reference/window.h"

namespace lightcap::internal::reference {

namespace {

double sum_at(const ConvArgs& args, size_t pixel, size_t column) {
  double sum = 0;
  size_t k = 0;
  for (size_t ky = 0; ky < args.kernel_height; ++ky) {
    for (size_t kx = 0; kx < args.kernel_width; ++kx) {
      const float* inside =
          window_pixel(args, pixel / args.output_width, pixel % args.output_width, ky, kx);
      for (size_t c = 0; c < args.channels; ++c, ++k) {
        if (inside == nullptr) continue;
        sum += static_cast<double>(inside[c]) * weight_at(args.weights, column, k);
      }
    }
  }
  return sum;
}

}  // namespace

void conv(const ConvArgs& args) {
  for (size_t pixel = args.first_pixel; pixel < args.first_pixel + args.pixels; ++pixel) {
    for (size_t column = 0; column < args.weights.outputs; ++column) {
      args.output[pixel * args.output_pixel_stride + column] =
          finished(sum_at(args, pixel, column), args.epilogue, pixel, column);
    }
  }
}

}  // namespace lightcap::internal::reference
