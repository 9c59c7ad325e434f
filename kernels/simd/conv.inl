#ifndef LIGHTCAP_KERNELS_SIMD_CONV_INL_
#define LIGHTCAP_KERNELS_SIMD_CONV_INL_

#include "kernels/simd/gemm.inl"

namespace lightcap {
namespace {

// What taps outside the image read: zeros, for runs of at most this length.
constexpr size_t kZeroRun = 512;
alignas(64) constexpr float kZeros[kZeroRun] = {};

// The pixels of a tile as a GEMM's rows: for each, what its window covers of the image, tap by tap.
// Nothing of the image is copied. Coordinates left of or above the image wrap around to very large
// ones, so that one comparison sees both sides.
struct ConvRuns {
  const ConvArgs& args;
  size_t y[kTileRows], x[kTileRows];  // the first tap of each pixel's window
  size_t offset[kTileRows];           // where that lies from the image's first float
  bool inside;                        // all windows are inside the image: no tap needs a look
  // Where the taps of a kernel's row follow each other in memory and lie inside the image's
  // columns, they are one run: for a stem over 3 channels the difference between runs of 3 and of
  // 18 floats.
  bool merged;

  ConvRuns(const ConvArgs& a, size_t pixel, size_t count)
      : args(a), inside(true), merged(a.input_pixel_stride == a.channels) {
    size_t oy = pixel / args.output_width;
    size_t ox = pixel % args.output_width;
    for (size_t r = 0; r < count; ++r) {
      y[r] = oy * args.stride - args.padding;
      x[r] = ox * args.stride - args.padding;
      offset[r] = y[r] * args.input_row_stride + x[r] * args.input_pixel_stride;
      const bool columns_inside = x[r] < args.width && x[r] + args.kernel_width <= args.width;
      merged = merged && columns_inside;
      inside = inside && columns_inside && y[r] < args.height &&
               y[r] + args.kernel_height <= args.height;
      if (++ox == args.output_width) {
        ox = 0;
        ++oy;
      }
    }
  }

  // f(rows, length) for each run: where it begins in each row, and its length.
  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    const size_t taps = merged ? 1 : args.kernel_width;
    const size_t length = merged ? args.kernel_width * args.channels : args.channels;
    for (size_t ky = 0; ky < args.kernel_height; ++ky) {
      for (size_t kx = 0; kx < taps; ++kx) {
        const size_t tap = ky * args.input_row_stride + kx * args.input_pixel_stride;
        for (size_t done = 0; done < length; done += kZeroRun) {
          const float* rows[kRows];
#pragma GCC unroll 16
          for (size_t r = 0; r < kRows; ++r) {
            const bool in = inside || (y[r] + ky < args.height && x[r] + kx < args.width);
            rows[r] = in ? args.input + (offset[r] + tap + done) : kZeros;
          }
          f(rows, min_size(kZeroRun, length - done));
        }
      }
    }
  }
};

void conv(const ConvArgs& args) {
  if (args.pixels == 0) return;
  const auto make_runs = [&](size_t pixel, size_t count) {
    return ConvRuns(args, args.first_pixel + pixel, count);
  };
  const Output output = {args.output, args.output_pixel_stride, args.columns, args.epilogue};
  Output first = part_of(output, args.first_pixel, 0);
  multiply_all(make_runs, args.pixels, args.kernel_height * args.kernel_width * args.channels,
               args.panels, first);
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_CONV_INL_
