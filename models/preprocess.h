// Pictures to the inputs of the image encoder and the detector, and where things lie in these.
#ifndef LIGHTCAP_MODELS_PREPROCESS_H_
#define LIGHTCAP_MODELS_PREPROCESS_H_

#include <cstddef>

#include "engine/image/frame.h"
#include "engine/image/resize.h"
#include "engine/runtime/ops.h"
#include "engine/runtime/tensor.h"
#include "models/config.h"
#include "models/coordinates.h"

namespace lightcap::internal {

// The image encoder's input: a square window into the resized picture.
struct EncoderGeometry {
  ResizedWindow window;
  size_t size = 0;
  CoordinateMap from_image;
};

// stretch: the picture becomes size x size. center_crop: its shorter side becomes `size`, the
// longer one int(size * long / short), and the square in its middle is kept (CLIP's own transform).
EncoderGeometry encoder_geometry(size_t width, size_t height, size_t size, bool center_crop);

// `box`, in pixels of the image, in pixels of the encoder's input; the whole square where nothing
// of it lies there.
Box to_encoder_pixels(const Box& box, const EncoderGeometry& geometry);

// From pixels of the encoder's input to cells of its features.
inline constexpr CoordinateMap kEncoderToFeatures = {1.0f / 32, 1.0f / 32, 0, 0};

// The detector's input: the resized picture, padded (Ultralytics' letterbox(auto=True, stride=32)).
struct LetterboxGeometry {
  size_t image_width = 0, image_height = 0;
  size_t resized_width = 0, resized_height = 0;
  size_t left = 0, top = 0;      // of the picture in the padding
  size_t width = 0, height = 0;  // padded, multiples of 32
  CoordinateMap from_image;
};

// The longer side becomes `size`, a multiple of 32; the shorter one is padded to the next multiple.
LetterboxGeometry letterbox_geometry(size_t width, size_t height, size_t size);

// `box`, in pixels of the detector's input, in pixels of the image, clipped to it.
Box to_image_pixels(const Box& box, const LetterboxGeometry& geometry);

// (p / 255 - mean) / std for each channel and 8-bit value.
ValueTable normalization_table(const Config::ImageEncoder& config);

// Fills out [size][size][3]: resize_bicubic(), whose promises hold here too, with the table's
// values; or the bytes themselves, [size][size][kBytePixel].
void encoder_input(const Runtime& runtime, const Frame& image, const EncoderGeometry& geometry,
                   const ValueTable& table, const Tensor& out);
void encoder_input(const Runtime& runtime, const Frame& image, const EncoderGeometry& geometry,
                   const ByteTensor& out);

// Fills out [height][width][3]: resize_bilinear(), divided by 255, with a padding of 114 / 255; or
// the bytes themselves, [height][width][kBytePixel]. `size` is what the geometry was made with: it
// alone decides the memory taken from the arena.
void detector_input(const Runtime& runtime, const Frame& image, const LetterboxGeometry& geometry,
                    size_t size, const Tensor& out);
void detector_input(const Runtime& runtime, const Frame& image, const LetterboxGeometry& geometry,
                    size_t size, const ByteTensor& out);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_PREPROCESS_H_
