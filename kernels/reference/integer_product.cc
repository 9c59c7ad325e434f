#include "kernels/reference/integer.h"
#include "kernels/reference/reference.h"
#include "kernels/reference/window.h"

namespace lightcap::internal::reference {
namespace {

int32_t sum_at(const IntegerConvArgs& args, size_t pixel, size_t column) {
  int32_t sum = 0;
  size_t k = 0;
  for (size_t ky = 0; ky < args.kernel_height; ++ky) {
    for (size_t kx = 0; kx < args.kernel_width; ++kx) {
      const uint8_t* inside =
          window_pixel(args, pixel / args.output_width, pixel % args.output_width, ky, kx);
      for (size_t c = 0; c < args.channels; ++c, ++k) {
        const uint8_t a = inside != nullptr ? inside[c] : args.input_zero;
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
