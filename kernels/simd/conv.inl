#ifndef LIGHTCAP_KERNELS_SIMD_CONV_INL_
#define LIGHTCAP_KERNELS_SIMD_CONV_INL_

#include "kernels/simd/gemm.inl"

namespace lightcap {
namespace {

// What taps outside the image read: zeros, for runs of at most this length.
constexpr size_t kZeroRun = 512;
alignas(64) constexpr float kZeros[kZeroRun] = {};

// A convolution is a GEMM whose rows are pixels: for each, what its window covers of the image, tap
// by tap. Nothing of the image is copied.

// Where an output pixel's window begins in the image. Coordinates left of or above it wrap around
// to very large ones, so that one comparison sees both sides.
struct Window {
  size_t y, x;
  size_t offset;  // from the image's first float

  Window(const ConvArgs& args, size_t output_y, size_t output_x)
      : y(output_y * args.stride - args.padding),
        x(output_x * args.stride - args.padding),
        offset(y * args.input_row_stride + x * args.input_pixel_stride) {}

  bool rows_inside(const ConvArgs& args) const {
    return y < args.height && y + args.kernel_height <= args.height;
  }
  bool columns_inside(const ConvArgs& args) const {
    return x < args.width && x + args.kernel_width <= args.width;
  }
};

// Where the taps of a kernel's row follow each other in memory they are one run: for a stem over 3
// channels the difference between runs of 3 and of 18 floats.
inline bool taps_are_dense(const ConvArgs& args) {
  return args.input_pixel_stride == args.channels;
}

// The runs of a tile of any pixels, of which each tap may be outside the image.
struct ConvRuns {
  const ConvArgs& args;
  size_t y[kTileRows], x[kTileRows], offset[kTileRows];  // the pixels' windows
  bool merged;

  ConvRuns(const ConvArgs& a, size_t output_y, size_t output_x, size_t count)
      : args(a), merged(taps_are_dense(a)) {
    for (size_t r = 0; r < count; ++r) {
      const Window window(args, output_y, output_x);
      y[r] = window.y;
      x[r] = window.x;
      offset[r] = window.offset;
      merged = merged && window.columns_inside(args);
      if (++output_x < args.output_width) continue;
      output_x = 0;
      ++output_y;
    }
  }

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    const size_t taps = merged ? 1 : args.kernel_width;
    const size_t length = args.kernel_width / taps * args.channels;
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

// Whether a tile's pixels are of one row, so that their windows lie a fixed step apart, and all of
// these are inside the image.
inline bool is_even(const ConvArgs& args, size_t output_y, size_t output_x, size_t count) {
  if (output_x + count > args.output_width) return false;
  const Window first(args, output_y, output_x), last(args, output_y, output_x + count - 1);
  return first.rows_inside(args) && first.columns_inside(args) && last.columns_inside(args);
}

// The runs of such a tile. All follow from one pointer, in which alone tiles differ; that leaves
// the registers to the sums.
struct EvenRuns {
  const float* first = nullptr;
  size_t row_stride;
  size_t length;
  size_t lines, line_runs;
  size_t to_next, to_next_line;  // from a run's first float, or from a line's last run's

  explicit EvenRuns(const ConvArgs& args)
      : row_stride(args.stride * args.input_pixel_stride),
        length(taps_are_dense(args) ? args.kernel_width * args.channels : args.channels),
        lines(args.kernel_height),
        line_runs(taps_are_dense(args) ? 1 : args.kernel_width),
        to_next(args.input_pixel_stride),
        to_next_line(args.input_row_stride - (line_runs - 1) * args.input_pixel_stride) {}

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    GemmRuns run = {first, row_stride, length};
    for (size_t line = lines;; run.first += to_next_line) {
      for (size_t left = line_runs;; run.first += to_next) {
        run.for_each<kRows>(f);
        if (--left == 0) break;
      }
      if (--line == 0) break;
    }
  }
};

void conv(const ConvArgs& args) {
  if (args.pixels == 0) return;
  EvenRuns even(args);
  const auto with_runs = [&](size_t pixel, size_t count, const auto& f) {
    const size_t output_y = (args.first_pixel + pixel) / args.output_width;
    const size_t output_x = (args.first_pixel + pixel) % args.output_width;
    if (!is_even(args, output_y, output_x, count))
      return f(ConvRuns(args, output_y, output_x, count));
    even.first = args.input + Window(args, output_y, output_x).offset;
    f(even);
  };
  const Output output = {args.output, args.output_pixel_stride, args.weights.outputs,
                         args.epilogue};
  multiply_packed(with_runs, args.pixels, args.weights, nullptr,
                  part_of(output, args.first_pixel, 0));
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_CONV_INL_
