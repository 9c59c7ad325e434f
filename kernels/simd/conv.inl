// Direct convolution, as an implicit GEMM: a row of the product is the part of the picture under an
// output pixel's window, tap by tap. Nothing of the picture is copied (no im2col).
#ifndef LIGHTCAP_KERNELS_SIMD_CONV_INL_
#define LIGHTCAP_KERNELS_SIMD_CONV_INL_

#include "kernels/simd/gemm.inl"

namespace lightcap::internal {
namespace {

// Taps outside the picture read these zeros, in segments of at most this length.
constexpr size_t kMaxZeros = 512;
alignas(64) constexpr float kZeros[kMaxZeros] = {};

// The place in the picture where an output pixel's window begins. Coordinates left of or above the
// picture wrap around to very large ones, so that one comparison checks both sides.
struct Window {
  size_t y, x;
  size_t offset;  // in floats, from the picture's first

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

// True if the taps of a kernel's row follow each other in memory, so that they are one segment: for
// a 6 x 6 stem over 3 channels that makes segments of 18 floats instead of 3.
inline bool taps_are_dense(const ConvArgs& args) {
  return args.input_pixel_stride == args.channels;
}

// The row source of a tile at the border: its pixels may lie in several rows of the output, and
// each tap of each window may be outside the picture.
struct BorderWindows {
  const ConvArgs& args;
  size_t y[kMR], x[kMR], offset[kMR];  // the pixels' windows
  bool merged;

  BorderWindows(const ConvArgs& a, size_t output_y, size_t output_x, size_t count)
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
        for (size_t done = 0; done < length; done += kMaxZeros) {
          const float* rows[kRows];
#pragma GCC unroll 16
          for (size_t r = 0; r < kRows; ++r) {
            const bool in = y[r] + ky < args.height && x[r] + kx < args.width;
            rows[r] = in ? args.input + (offset[r] + tap + done) : kZeros;
          }
          f(rows, min_size(kMaxZeros, length - done));
        }
      }
    }
  }
};

// True if a tile is interior: its pixels are in one row of the output, so that their windows are
// equidistant, and all windows are inside the picture.
inline bool is_interior(const ConvArgs& args, size_t output_y, size_t output_x, size_t count) {
  if (output_x + count > args.output_width) return false;
  const Window first(args, output_y, output_x), last(args, output_y, output_x + count - 1);
  return first.rows_inside(args) && first.columns_inside(args) && last.columns_inside(args);
}

// The row source of an interior tile. Tiles differ in one pointer, from which the addresses of all
// taps of all windows follow. That leaves the registers to the sums.
struct InteriorWindows {
  const float* first = nullptr;
  size_t row_stride;
  size_t length;
  size_t lines, line_segments;   // the kernel's rows, and the segments of each
  size_t to_next, to_next_line;  // floats from a segment to the next in its line, and from a line's
                                 // last segment to the next line's first

  explicit InteriorWindows(const ConvArgs& args)
      : row_stride(args.stride * args.input_pixel_stride),
        length(taps_are_dense(args) ? args.kernel_width * args.channels : args.channels),
        lines(args.kernel_height),
        line_segments(taps_are_dense(args) ? 1 : args.kernel_width),
        to_next(args.input_pixel_stride),
        to_next_line(args.input_row_stride - (line_segments - 1) * args.input_pixel_stride) {}

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    DenseRows segment = {first, row_stride, length};
    for (size_t line = lines;; segment.first += to_next_line) {
      for (size_t left = line_segments;; segment.first += to_next) {
        segment.for_each<kRows>(f);
        if (--left == 0) break;
      }
      if (--line == 0) break;
    }
  }
};

void conv(const ConvArgs& args) {
  if (args.pixels == 0) return;
  InteriorWindows interior(args);
  const auto source = [&](size_t pixel, size_t count, const auto& f) {
    const size_t output_y = (args.first_pixel + pixel) / args.output_width;
    const size_t output_x = (args.first_pixel + pixel) % args.output_width;
    if (!is_interior(args, output_y, output_x, count))
      return f(BorderWindows(args, output_y, output_x, count));
    interior.first = args.input + Window(args, output_y, output_x).offset;
    f(interior);
  };
  const Output output = {args.output, args.output_pixel_stride, args.weights.outputs,
                         args.epilogue};
  multiply_packed(source, args.pixels, args.weights, nullptr, part_of(output, args.first_pixel, 0));
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_CONV_INL_
