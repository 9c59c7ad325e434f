#include "models/network_inputs.h"

#include <algorithm>

#include "models/detector.h"
#include "models/image_encoder.h"

namespace lightcap::internal {
namespace {

// Zeros on the outer `padding` pixels of every side.
void clear_border(const Tensor& x, size_t padding) {
  for (size_t y = 0; y < x.height; ++y) {
    float* row = x.data + y * x.row_stride;
    if (y < padding || y >= x.height - padding) {
      std::fill_n(row, x.row_stride, 0.0f);
    } else {
      std::fill_n(row, padding * x.pixel_stride, 0.0f);
      std::fill_n(row + x.row_stride - padding * x.pixel_stride, padding * x.pixel_stride, 0.0f);
    }
  }
}

// The pixels that the border leaves.
Tensor inside(const Tensor& x, size_t padding) {
  Tensor middle = x;
  middle.data += padding * (x.row_stride + x.pixel_stride);
  middle.height -= 2 * padding;
  middle.width -= 2 * padding;
  return middle;
}

}  // namespace

Box PictureGeometry::from_detector(const Box& box) const { return to_image_pixels(box, detector); }

Box PictureGeometry::to_encoder(const Box& box) const { return to_encoder_pixels(box, encoder); }

Box PictureGeometry::whole() const {
  return {0, 0, static_cast<float>(width), static_cast<float>(height), 0};
}

NetworkInputs::NetworkInputs(const Config& config)
    : encoder_size_(config.image_encoder.image_size),
      detector_size_(config.detector.image_size),
      center_crop_(config.image_encoder.resize == Resize::kCenterCrop),
      normalized_(normalization_table(config.image_encoder)) {}

void NetworkInputs::allocate(Arena& arena) {
  const size_t encoder_side = encoder_size_ + 2 * ImageEncoder::kInputPadding;
  const size_t detector_side = detector_size_ + 2 * Detector::kInputPadding;
  encoder_ = arena.tensor(encoder_side, encoder_side, 3);
  detector_memory_ = arena.floats(dense_tensor_elements(detector_side, detector_side, 3));
}

void NetworkInputs::clear_padding() { clear_border(encoder_, ImageEncoder::kInputPadding); }

void NetworkInputs::place(size_t width, size_t height) {
  geometry_ = {width, height, encoder_geometry(width, height, encoder_size_, center_crop_),
               letterbox_geometry(width, height, detector_size_)};
  detector_ =
      dense_tensor(detector_memory_, geometry_.detector.height + 2 * Detector::kInputPadding,
                   geometry_.detector.width + 2 * Detector::kInputPadding, 3);
}

void NetworkInputs::resize(const Runtime& runtime, const ImageView& image) {
  encoder_input(image, geometry_.encoder, normalized_, runtime.kernels, runtime.arena, runtime.pool,
                encoder_pixels());
  detector_input(image, geometry_.detector, detector_size_, runtime.arena, runtime.pool,
                 detector_pixels());
}

// The letterbox of a square is the largest one; the encoder's input takes the same for all.
void NetworkInputs::plan(const Runtime& runtime) {
  place(detector_size_, detector_size_);
  resize(runtime, {nullptr, detector_size_, detector_size_, 0});
}

void NetworkInputs::run(const Runtime& runtime, const ImageView& image) {
  place(image.width, image.height);
  resize(runtime, image);
  clear_border(detector_, Detector::kInputPadding);  // its place depends on the picture's shape
}

Tensor NetworkInputs::encoder_pixels() const {
  return inside(encoder_, ImageEncoder::kInputPadding);
}

Tensor NetworkInputs::detector_pixels() const { return inside(detector_, Detector::kInputPadding); }

}  // namespace lightcap::internal
