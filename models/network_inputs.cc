#include "models/network_inputs.h"

#include <algorithm>

#include "models/detector.h"
#include "models/image_encoder.h"

namespace lightcap::internal {
namespace {

// Zeros on the outer `padding` pixels of every side.
template <class T>
void clear_border(const TensorOf<T>& x, size_t padding) {
  for (size_t y = 0; y < x.height; ++y) {
    T* row = x.data + y * x.row_stride;
    if (y < padding || y >= x.height - padding) {
      std::fill_n(row, x.row_stride, T{0});
    } else {
      std::fill_n(row, padding * x.pixel_stride, T{0});
      std::fill_n(row + x.row_stride - padding * x.pixel_stride, padding * x.pixel_stride, T{0});
    }
  }
}

// The pixels that the border leaves.
template <class T>
TensorOf<T> inside(const TensorOf<T>& x, size_t padding) {
  TensorOf<T> middle = x;
  middle.data += padding * (x.row_stride + x.pixel_stride);
  middle.height -= 2 * padding;
  middle.width -= 2 * padding;
  return middle;
}

// x [height][width][3 or more] as [3][height][width], each number as value(channel, number).
template <class T, class F>
std::vector<float> planes(const TensorOf<T>& x, F&& value) {
  std::vector<float> out;
  out.reserve(3 * x.height * x.width);
  for (size_t c = 0; c < 3; ++c) {
    for (size_t row = 0; row < x.height; ++row) {
      for (size_t column = 0; column < x.width; ++column)
        out.push_back(value(c, x.data[row * x.row_stride + column * x.pixel_stride + c]));
    }
  }
  return out;
}

float itself(size_t, float x) { return x; }

}  // namespace

Box PictureGeometry::from_detector(const Box& box) const { return to_image_pixels(box, detector); }

Box PictureGeometry::to_encoder(const Box& box) const { return to_encoder_pixels(box, encoder); }

Box PictureGeometry::whole() const {
  return {0, 0, static_cast<float>(width), static_cast<float>(height), 0};
}

NetworkInputs::NetworkInputs(const Config& config)
    : is_int8_(config.is_int8()),
      encoder_size_(config.image_encoder.image_size),
      detector_size_(config.detector.image_size),
      center_crop_(config.image_encoder.resize == Resize::kCenterCrop),
      normalized_(normalization_table(config.image_encoder)) {}

template <>
const NetworkInputs::Inputs<float>& NetworkInputs::inputs() const {
  return floats_;
}
template <>
const NetworkInputs::Inputs<uint8_t>& NetworkInputs::inputs() const {
  return bytes_;
}

template <class T>
void NetworkInputs::allocate(Arena& arena, size_t channels, Inputs<T>& inputs) {
  const size_t encoder_side = encoder_size_ + 2 * ImageEncoder::kInputPadding;
  const size_t detector_side = detector_size_ + 2 * Detector::kInputPadding;
  inputs.encoder = arena.tensor<T>(encoder_side, encoder_side, channels);
  inputs.detector_memory =
      arena.elements<T>(dense_tensor_elements<T>(detector_side, detector_side, channels));
}

void NetworkInputs::allocate(Arena& arena) {
  is_int8_ ? allocate(arena, kBytePixel, bytes_) : allocate(arena, 3, floats_);
}

void NetworkInputs::clear_padding() {
  visit([](auto& inputs) { clear_border(inputs.encoder, ImageEncoder::kInputPadding); });
}

void NetworkInputs::place(size_t width, size_t height) {
  geometry_ = {width, height, encoder_geometry(width, height, encoder_size_, center_crop_),
               letterbox_geometry(width, height, detector_size_)};
  visit([&](auto& inputs) {
    inputs.detector = dense_tensor(
        inputs.detector_memory, geometry_.detector.height + 2 * Detector::kInputPadding,
        geometry_.detector.width + 2 * Detector::kInputPadding, inputs.encoder.channels);
  });
}

void NetworkInputs::resize(const Runtime& runtime, const Frame& image) {
  const auto encoder_pixels = [](auto& inputs) {
    return inside(inputs.encoder, ImageEncoder::kInputPadding);
  };
  if (is_int8_) {
    encoder_input(runtime, image, geometry_.encoder, encoder_pixels(bytes_));
  } else {
    encoder_input(runtime, image, geometry_.encoder, normalized_, encoder_pixels(floats_));
  }
  visit([&](auto& inputs) {
    detector_input(runtime, image, geometry_.detector, detector_size_,
                   inside(inputs.detector, Detector::kInputPadding));
  });
}

// The letterbox of a square is the largest one; the encoder's input takes the same for all.
void NetworkInputs::plan(const Runtime& runtime) {
  place(detector_size_, detector_size_);
  resize(runtime, ImageView{nullptr, detector_size_, detector_size_, 0});
}

void NetworkInputs::run(const Runtime& runtime, const Frame& image) {
  place(image.width(), image.height());
  resize(runtime, image);
  // Its place depends on the picture's shape.
  runtime.serial(
      [&] { visit([](auto& inputs) { clear_border(inputs.detector, Detector::kInputPadding); }); });
}

std::vector<float> NetworkInputs::encoder_values() const {
  constexpr size_t kPadding = ImageEncoder::kInputPadding;
  if (!is_int8_) return planes(inside(floats_.encoder, kPadding), itself);
  return planes(inside(bytes_.encoder, kPadding),
                [&](size_t c, uint8_t byte) { return normalized_[c][byte]; });
}

std::vector<float> NetworkInputs::detector_values() const {
  constexpr size_t kPadding = Detector::kInputPadding;
  if (!is_int8_) return planes(inside(floats_.detector, kPadding), itself);
  return planes(inside(bytes_.detector, kPadding),
                [](size_t, uint8_t byte) { return static_cast<float>(byte) / 255.0f; });
}

}  // namespace lightcap::internal
