#include "models/preprocess.h"

#include <algorithm>
#include <cmath>

namespace lightcap::internal {
namespace {

constexpr uint8_t kGreyByte = 114;  // the padding that YOLOv5 is trained with
constexpr float kGrey = 114.0f / 255.0f;

// The fourth byte of the encoder's pixels, see kBytePixel.
constexpr uint8_t kInside = 255;

// Python's round(): halves go to the even neighbour. The default rounding mode does that.
size_t round_half_even(double x) { return static_cast<size_t>(std::max(std::nearbyint(x), 0.0)); }

}  // namespace

EncoderGeometry encoder_geometry(size_t width, size_t height, size_t size, bool center_crop) {
  EncoderGeometry geometry;
  geometry.size = size;
  ResizedWindow& window = geometry.window;
  window.resized_width = window.resized_height = size;
  if (center_crop) {
    if (width > height) window.resized_width = size * width / height;
    if (height > width) window.resized_height = size * height / width;
  }
  window.left = round_half_even(static_cast<double>(window.resized_width - size) / 2);
  window.top = round_half_even(static_cast<double>(window.resized_height - size) / 2);
  const auto scale = [](size_t to, size_t from) {
    return static_cast<float>(static_cast<double>(to) / static_cast<double>(from));
  };
  geometry.from_image = {scale(window.resized_width, width), scale(window.resized_height, height),
                         -static_cast<float>(window.left), -static_cast<float>(window.top)};
  return geometry;
}

Box to_encoder_pixels(const Box& box, const EncoderGeometry& geometry) {
  const Box placed = clipped(geometry.from_image.apply(box), geometry.size, geometry.size);
  const auto size = static_cast<float>(geometry.size);
  if (placed.x2 <= placed.x1 || placed.y2 <= placed.y1) return {0, 0, size, size, box.score};
  return placed;
}

LetterboxGeometry letterbox_geometry(size_t width, size_t height, size_t size) {
  LetterboxGeometry geometry;
  geometry.image_width = width;
  geometry.image_height = height;
  const auto w = static_cast<double>(width), h = static_cast<double>(height),
             d = static_cast<double>(size);
  const double ratio = std::min(d / h, d / w);
  geometry.resized_width = std::max<size_t>(round_half_even(w * ratio), 1);
  geometry.resized_height = std::max<size_t>(round_half_even(h * ratio), 1);
  const size_t pad_x = (size - geometry.resized_width) % 32,
               pad_y = (size - geometry.resized_height) % 32;
  geometry.left = round_half_even(static_cast<double>(pad_x) / 2 - 0.1);
  geometry.top = round_half_even(static_cast<double>(pad_y) / 2 - 0.1);
  geometry.width = geometry.resized_width + pad_x;
  geometry.height = geometry.resized_height + pad_y;
  const auto scale = static_cast<float>(ratio);
  geometry.from_image = {scale, scale, static_cast<float>(geometry.left),
                         static_cast<float>(geometry.top)};
  return geometry;
}

Box to_image_pixels(const Box& box, const LetterboxGeometry& geometry) {
  return clipped(geometry.from_image.invert(box), geometry.image_width, geometry.image_height);
}

ValueTable normalization_table(const Config::ImageEncoder& config) {
  ValueTable table;
  for (size_t c = 0; c < table.size(); ++c) {
    const auto mean = static_cast<float>(config.mean[c]), std = static_cast<float>(config.std[c]);
    for (size_t p = 0; p < table[c].size(); ++p) {
      table[c][p] = (static_cast<float>(p) / 255.0f - mean) / std;
    }
  }
  return table;
}

void encoder_input(const Runtime& runtime, const Frame& image, const EncoderGeometry& geometry,
                   const ValueTable& table, const Tensor& out) {
  resize_bicubic(runtime, image, geometry.window, TableRows(out, table));
}

void encoder_input(const Runtime& runtime, const Frame& image, const EncoderGeometry& geometry,
                   const ByteTensor& out) {
  resize_bicubic(runtime, image, geometry.window, ByteRows(out, kInside));
}

namespace {

// The part of the letterbox that the picture takes.
template <class T>
TensorOf<T> picture_of(const TensorOf<T>& letterbox, const LetterboxGeometry& geometry) {
  TensorOf<T> picture = letterbox;
  picture.data += geometry.top * letterbox.row_stride + geometry.left * letterbox.pixel_stride;
  picture.height = geometry.resized_height;
  picture.width = geometry.resized_width;
  return picture;
}

// Fills the letterbox around the picture with `grey`, a pixel.
template <class T>
void pad_letterbox(const TensorOf<T>& out, const LetterboxGeometry& geometry,
                   const std::array<T, kBytePixel>& grey) {
  const size_t right = geometry.left + geometry.resized_width;
  const size_t bottom = geometry.top + geometry.resized_height;
  for (size_t y = 0; y < geometry.height; ++y) {
    T* row = out.data + y * out.row_stride;
    const auto pad = [&](size_t from, size_t to) {
      for (size_t x = from; x < to; ++x)
        std::copy_n(grey.data(), out.channels, row + x * out.pixel_stride);
    };
    const bool above_or_below = y < geometry.top || y >= bottom;
    pad(0, above_or_below ? geometry.width : geometry.left);
    if (!above_or_below) pad(right, geometry.width);
  }
}

}  // namespace

void detector_input(const Runtime& runtime, const Frame& image, const LetterboxGeometry& geometry,
                    size_t size, const Tensor& out) {
  resize_bilinear(runtime, image, size, UnitRows(picture_of(out, geometry)));
  runtime.serial([&] { pad_letterbox<float>(out, geometry, {kGrey, kGrey, kGrey}); });
}

void detector_input(const Runtime& runtime, const Frame& image, const LetterboxGeometry& geometry,
                    size_t size, const ByteTensor& out) {
  resize_bilinear(runtime, image, size, ByteRows(picture_of(out, geometry), 0));
  runtime.serial([&] {
    pad_letterbox<uint8_t>(out, geometry, {kGreyByte, kGreyByte, kGreyByte, 0});
  });
}

}  // namespace lightcap::internal
