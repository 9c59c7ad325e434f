#include "kernels/reference/integer.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {
namespace {

int32_t sum_at(const IntegerConvArgs& args, size_t pixel, size_t column) {
  int32_t sum = 0;
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
        const uint8_t a = inside ? args.input[static_cast<size_t>(y) * args.input_row_stride +
                                              static_cast<size_t>(x) * args.input_pixel_stride + c]
                                 : args.input_zero;
        sum += a * integer_weight_at(args.weights, column, k);
      }
    }
  }
  return sum;
}

}  // namespace

void integer_gemm(const IntegerGemmArgs& args) {
  for (size_t i = 0; i < args.rows; ++i) {
    for (size_t j = 0; j < args.weights.outputs; ++j) {
      int32_t sum = 0;
      for (size_t k = 0; k < args.weights.depth; ++k)
        sum += args.a[i * args.a_stride + k] * integer_weight_at(args.weights, j, k);
      finish({args.c, args.c_stride}, args.weights, args.epilogue, sum, i, j);
    }
  }
}

void integer_conv(const IntegerConvArgs& args) {
  for (size_t pixel = args.first_pixel; pixel < args.first_pixel + args.pixels; ++pixel) {
    for (size_t column = 0; column < args.weights.outputs; ++column) {
      finish({args.output, args.output_pixel_stride}, args.weights, args.epilogue,
             sum_at(args, pixel, column), pixel, column);
    }
  }
}

}  // namespace lightcap::internal::reference
