// Convolution as an implicit GEMM, for every kind of number: a row of the product is the part of
// the picture under an output pixel's window, tap by tap. Nothing of the picture is copied (no
// im2col).
#ifndef LIGHTCAP_KERNELS_SIMD_WINDOWS_INL_
#define LIGHTCAP_KERNELS_SIMD_WINDOWS_INL_

#include "kernels/simd/product.inl"

namespace lightcap::internal {
namespace {

// Taps outside the picture read from a block of this length, segment by segment.
constexpr size_t kMaxOutside = 512;

// The input of a convolution. Strides, channels and positions are counted in elements of the
// product: floats, or quads of bytes.
template <class PictureElement>
struct Picture {
  using Element = PictureElement;
  const Element* input;
  size_t row_stride, pixel_stride;
  size_t height, width, channels;
  size_t kernel_height, kernel_width, stride, padding;
  size_t output_width;
  const Element* outside;  // kMaxOutside elements, all of the value that is outside the picture

  // True if the taps of a kernel's row follow each other in memory, so that they are one segment:
  // for a 6 x 6 stem over 3 channels that makes segments of 18 floats instead of 3.
  bool taps_are_dense() const { return pixel_stride == channels; }
};

// The place in the picture where an output pixel's window begins. Coordinates left of or above the
// picture wrap around to very large ones, so that one comparison checks both sides.
struct Window {
  size_t y, x;
  size_t offset;  // in elements, from the picture's first

  template <class Element>
  Window(const Picture<Element>& picture, size_t output_y, size_t output_x)
      : y(output_y * picture.stride - picture.padding),
        x(output_x * picture.stride - picture.padding),
        offset(y * picture.row_stride + x * picture.pixel_stride) {}

  template <class Element>
  bool rows_inside(const Picture<Element>& picture) const {
    return y < picture.height && y + picture.kernel_height <= picture.height;
  }
  template <class Element>
  bool columns_inside(const Picture<Element>& picture) const {
    return x < picture.width && x + picture.kernel_width <= picture.width;
  }
};

// The row source of a tile at the border: its pixels may lie in several rows of the output, and
// each tap of each window may be outside the picture.
template <class Element>
struct BorderWindows {
  const Picture<Element>& picture;
  size_t y[kMaxTileRows], x[kMaxTileRows], offset[kMaxTileRows];  // the pixels' windows
  bool merged;

  BorderWindows(const Picture<Element>& of, size_t output_y, size_t output_x, size_t count)
      : picture(of), merged(of.taps_are_dense()) {
    for (size_t r = 0; r < count; ++r) {
      const Window window(picture, output_y, output_x);
      y[r] = window.y;
      x[r] = window.x;
      offset[r] = window.offset;
      merged = merged && window.columns_inside(picture);
      if (++output_x < picture.output_width) continue;
      output_x = 0;
      ++output_y;
    }
  }

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    const size_t taps = merged ? 1 : picture.kernel_width;
    const size_t length = picture.kernel_width / taps * picture.channels;
    for (size_t ky = 0; ky < picture.kernel_height; ++ky) {
      for (size_t kx = 0; kx < taps; ++kx) {
        const size_t tap = ky * picture.row_stride + kx * picture.pixel_stride;
        for (size_t done = 0; done < length; done += kMaxOutside) {
          const Element* rows[kRows];
#pragma GCC unroll 16
          for (size_t r = 0; r < kRows; ++r) {
            const bool in = y[r] + ky < picture.height && x[r] + kx < picture.width;
            rows[r] = in ? picture.input + (offset[r] + tap + done) : picture.outside;
          }
          f(rows, min_size(kMaxOutside, length - done));
        }
      }
    }
  }
};

// True if a tile is interior: its pixels are in one row of the output, so that their windows are
// equidistant, and all windows are inside the picture.
template <class Element>
inline bool is_interior(const Picture<Element>& picture, size_t output_y, size_t output_x,
                        size_t count) {
  if (output_x + count > picture.output_width) return false;
  const Window first(picture, output_y, output_x);
  const Window last(picture, output_y, output_x + count - 1);
  return first.rows_inside(picture) && first.columns_inside(picture) &&
         last.columns_inside(picture);
}

// The row source of an interior tile. Tiles differ in one pointer, from which the addresses of all
// taps of all windows follow. That leaves the registers to the sums.
template <class Element>
struct InteriorWindows {
  const Element* first = nullptr;
  size_t row_stride;
  size_t length;
  size_t lines, line_segments;   // the kernel's rows, and the segments of each
  size_t to_next, to_next_line;  // elements from a segment to the next in its line, and from a
                                 // line's last segment to the next line's first

  explicit InteriorWindows(const Picture<Element>& picture)
      : row_stride(picture.stride * picture.pixel_stride),
        length(picture.taps_are_dense() ? picture.kernel_width * picture.channels
                                        : picture.channels),
        lines(picture.kernel_height),
        line_segments(picture.taps_are_dense() ? 1 : picture.kernel_width),
        to_next(picture.pixel_stride),
        to_next_line(picture.row_stride - (line_segments - 1) * picture.pixel_stride) {}

  template <size_t kRows, class F>
  [[gnu::always_inline]] void for_each(const F& f) const {
    DenseRows<Element> segment = {first, row_stride, length};
    for (size_t line = lines;; segment.first += to_next_line) {
      for (size_t left = line_segments;; segment.first += to_next) {
        segment.template for_each<kRows>(f);
        if (--left == 0) break;
      }
      if (--line == 0) break;
    }
  }
};

// Calls f(source) with the function that gives `multiply` the rows of its tiles, the windows of the
// output's pixels from first_pixel on.
template <class Element, class F>
[[gnu::always_inline]] inline void with_windows(const Picture<Element>& picture, size_t first_pixel,
                                                const F& f) {
  InteriorWindows<Element> interior(picture);
  f([&](size_t pixel, size_t count, const auto& g) {
    const size_t output_y = (first_pixel + pixel) / picture.output_width;
    const size_t output_x = (first_pixel + pixel) % picture.output_width;
    if (!is_interior(picture, output_y, output_x, count))
      return g(BorderWindows<Element>(picture, output_y, output_x, count));
    interior.first = picture.input + Window(picture, output_y, output_x).offset;
    g(interior);
  });
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WINDOWS_INL_
