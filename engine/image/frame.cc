#include "engine/image/frame.h"

#include <algorithm>

#include "engine/image/exif.h"

namespace lightcap::internal {
namespace {

// RGB of Y, U and V, in 1/65536: red is y * (Y - black) + red_v * (V - 128), and so on.
struct YuvMatrix {
  int32_t black, y, red_v, green_u, green_v, blue_u;
};
constexpr int kYuvBits = 16;

// From the weights that red and blue have in Y.
constexpr YuvMatrix yuv_matrix(double red, double blue, bool full_range) {
  const double y = full_range ? 1 : 255.0 / 219, c = full_range ? 1 : 255.0 / 224;
  const double green = 1 - red - blue;
  const auto fixed = [](double x) {
    return static_cast<int32_t>(x * (1 << kYuvBits) + (x < 0 ? -0.5 : 0.5));
  };
  return {full_range ? 0 : 16,
          fixed(y),
          fixed(2 * (1 - red) * c),
          fixed(-2 * blue * (1 - blue) / green * c),
          fixed(-2 * red * (1 - red) / green * c),
          fixed(2 * (1 - blue) * c)};
}

constexpr YuvMatrix kYuvMatrices[2][2] = {
    {yuv_matrix(0.299, 0.114, false), yuv_matrix(0.299, 0.114, true)},
    {yuv_matrix(0.2126, 0.0722, false), yuv_matrix(0.2126, 0.0722, true)}};

uint8_t from_fixed(int32_t x) { return static_cast<uint8_t>(std::clamp(x >> kYuvBits, 0, 255)); }

}  // namespace

Frame::Frame(const FrameLayout& layout)
    : layout_(layout),
      is_transposed_(turn_of(layout.orientation).transposes),
      mirrors_x_(turn_of(layout.orientation).mirrors_x),
      mirrors_y_(turn_of(layout.orientation).mirrors_y) {
  width_ = is_transposed_ ? layout.height : layout.width;
  height_ = is_transposed_ ? layout.width : layout.height;
  is_rgb_ =
      layout.format == PixelFormat::kRgb && layout.pixel_bytes[0] == 3 && layout.orientation <= 1;
}

Frame::Frame(const ImageView& image)
    : Frame(FrameLayout{.width = image.width,
                        .height = image.height,
                        .planes = {image.data},
                        .row_bytes = {image.row_bytes},
                        .pixel_bytes = {3}}) {}

// An upright row is a row of the stored picture, or a column: the one at `across`, in pixels, of
// which planes of U and V have half as many.
Frame::Walk Frame::walk(size_t plane, size_t across) const {
  const size_t line = plane == 0 ? across : across / 2;
  const size_t rows = layout_.row_bytes[plane], pixels = layout_.pixel_bytes[plane];
  return {layout_.planes[plane] + line * (is_transposed_ ? pixels : rows),
          static_cast<ptrdiff_t>(is_transposed_ ? rows : pixels)};
}

template <class Position>
void Frame::convert_colors(const Walk& pixels, uint8_t* out, Position position) const {
  const bool is_grey = layout_.format == PixelFormat::kGrey;
  const bool is_bgr = layout_.format == PixelFormat::kBgr || layout_.format == PixelFormat::kBgra;
  const size_t red = is_bgr ? 2 : 0, green = is_grey ? 0 : 1, blue = is_bgr || is_grey ? 0 : 2;
  for (size_t x = 0; x < width_; ++x, out += 3) {
    const uint8_t* pixel = pixels.begin + static_cast<ptrdiff_t>(position(x)) * pixels.step;
    out[0] = pixel[red];
    out[1] = pixel[green];
    out[2] = pixel[blue];
  }
}

// Two pixels share a U and a V, and what these add to red, green and blue.
template <class Position>
void Frame::convert_yuv(size_t across, uint8_t* out, Position position) const {
  const YuvMatrix& matrix = kYuvMatrices[layout_.bt709][layout_.full_range];
  const Walk ys = walk(0, across), us = walk(1, across), vs = walk(2, across);
  const auto convert = [&](size_t x, size_t count) {
    const auto half = static_cast<ptrdiff_t>(position(x) / 2);
    const int32_t u = us.begin[half * us.step] - 128, v = vs.begin[half * vs.step] - 128;
    const int32_t red = matrix.red_v * v, green = matrix.green_u * u + matrix.green_v * v,
                  blue = matrix.blue_u * u;
    for (size_t i = x; i < x + count; ++i) {
      const uint8_t luma = ys.begin[static_cast<ptrdiff_t>(position(i)) * ys.step];
      const int32_t y = (luma - matrix.black) * matrix.y + (1 << (kYuvBits - 1));
      out[3 * i] = from_fixed(y + red);
      out[3 * i + 1] = from_fixed(y + green);
      out[3 * i + 2] = from_fixed(y + blue);
    }
  };
  // The last of an odd number of pixels is alone, wherever the walk begins.
  size_t x = 0;
  if (position(0) % 2 == 0 && position(0) > 0) convert(x++, 1);
  for (; x + 1 < width_; x += 2) convert(x, 2);
  if (x < width_) convert(x, 1);
}

const uint8_t* Frame::converted_row(size_t y, uint8_t* out) const {
  const size_t across = mirrors_y_ ? height_ - 1 - y : y;
  const auto convert = [&](auto position) {
    if (layout_.format == PixelFormat::kYuv420) {
      convert_yuv(across, out, position);
    } else {
      convert_colors(walk(0, across), out, position);
    }
  };
  if (mirrors_x_) {
    convert([last = width_ - 1](size_t x) { return last - x; });
  } else {
    convert([](size_t x) { return x; });
  }
  return out;
}

}  // namespace lightcap::internal
