#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

namespace {

double sum_at(const ConvArgs& args, size_t pixel, size_t column) {
  double sum = 0;
  size_t k = 0;
  for (size_t ky = 0; ky < args.kernel_height; ++ky) {
    for (size_t kx = 0; kx < args.kernel_width; ++kx) {
      const auto y = static_cast<ptrdiff_t>(pixel / args.output_width * args.stride + ky) -
                     static_cast<ptrdiff_t>(args.padding);
      const auto x = static_cast<ptrdiff_t>(pixel % args.output_width * args.stride + kx) -
                     static_cast<ptrdiff_t>(args.padding);
      const bool inside = y >= 0 && x >= 0 && y < static_cast<ptrdiff_t>(args.height) &&
                          x < static_cast<ptrdiff_t>(args.width);
      for (size_t c = 0; c < args.channels; ++c, ++k) {
        if (!inside) continue;
        const float* at = args.input + static_cast<size_t>(y) * args.input_row_stride +
                          static_cast<size_t>(x) * args.input_pixel_stride + c;
        sum += static_cast<double>(*at) * weight_at(args.weights, column, k);
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
