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
  static constexpr bool kOne = false;
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
    for (size_t r = 0; r < count; ++oy, ox = 0) {
      // Pixels of one row of the output lie in a row of the image too, `stride` apart.
      const size_t end = r + min_size(count - r, args.output_width - ox);
      const size_t top = oy * args.stride - args.padding;
      size_t left = ox * args.stride - args.padding;
      size_t at = top * args.input_row_stride + left * args.input_pixel_stride;
      const size_t right = left + (end - r - 1) * args.stride + args.kernel_width;
      const bool columns_inside = left < args.width && right <= args.width;
      merged = merged && columns_inside;
      inside =
          inside && columns_inside && top < args.height && top + args.kernel_height <= args.height;
      for (; r < end; ++r) {
        y[r] = top;
        x[r] = left;
        offset[r] = at;
        left += args.stride;
        at += args.stride * args.input_pixel_stride;
      }
    }
  }

  // f(rows, length) for each run: where it begins in each row, and its length.
  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    const size_t taps = merged ? 1 : args.kernel_width;
    const size_t length = merged ? args.kernel_width * args.channels : args.channels;
    inside ? for_each_inside<kRows>(taps, length, f) : for_each_checked<kRows>(taps, length, f);
  }

 private:
  // Rows go on from where they are, so that between two runs there is little to do: a stem's run
  // is only 18 floats long.
  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each_inside(size_t taps, size_t length, const F& f) const {
    const float* rows[kRows];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) rows[r] = args.input + offset[r];
    const auto move_by = [&](size_t floats) __attribute__((always_inline)) {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) rows[r] += floats;
    };
    const size_t to_next_row = args.input_row_stride - (taps - 1) * args.input_pixel_stride;
    for (size_t ky = 1;; ++ky, move_by(to_next_row)) {
      for (size_t kx = 1;; ++kx, move_by(args.input_pixel_stride)) {
        f(rows, length);
        if (kx == taps) break;
      }
      if (ky == args.kernel_height) break;
    }
  }

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each_checked(size_t taps, size_t length, const F& f) const {
    for (size_t ky = 0; ky < args.kernel_height; ++ky) {
      for (size_t kx = 0; kx < taps; ++kx) {
        const size_t tap = ky * args.input_row_stride + kx * args.input_pixel_stride;
        for (size_t done = 0; done < length; done += kZeroRun) {
          const float* rows[kRows];
#pragma GCC unroll 16
          for (size_t r = 0; r < kRows; ++r) {
            const bool in = y[r] + ky < args.height && x[r] + kx < args.width;
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
               args.panels, nullptr, first);
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_CONV_INL_
