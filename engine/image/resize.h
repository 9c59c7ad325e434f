// Pictures to the inputs of the image encoder and the detector. Two resizers, since the two
// networks were trained with two: captions differ from PyTorch's where either is replaced by a
// look-alike.
#ifndef LIGHTCAP_ENGINE_IMAGE_RESIZE_H_
#define LIGHTCAP_ENGINE_IMAGE_RESIZE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/image/image.h"
#include "engine/runtime/arena.h"
#include "engine/runtime/tensor.h"
#include "engine/runtime/thread_pool.h"
#include "kernels/kernels.h"

namespace lightcap {

// Where the encoder's square lies: encoder pixel = image pixel * scale - offset.
struct EncoderGeometry {
  size_t resized_width = 0, resized_height = 0;  // of the whole picture
  size_t left = 0, top = 0;                      // of the square in it
  size_t size = 0;
  float scale_x = 1, scale_y = 1;
};

// stretch: the picture becomes size x size. center_crop: its shorter side becomes `size`, the
// longer one int(size * long / short), and the square in its middle is kept (CLIP's own transform).
EncoderGeometry encoder_geometry(size_t width, size_t height, size_t size, bool center_crop);

// Ultralytics' letterbox(auto=True, stride=32): detector pixel = image pixel * ratio + (left, top).
struct LetterboxGeometry {
  double ratio = 1;
  size_t resized_width = 0, resized_height = 0;
  size_t left = 0, top = 0;
  size_t width = 0, height = 0;  // padded, multiples of 32
};

// The longer side becomes `size`, a multiple of 32; the shorter one is padded to the next multiple.
LetterboxGeometry letterbox_geometry(size_t width, size_t height, size_t size);

// Pillow's Image.resize(BICUBIC) to the last bit (a = -0.5, antialiased; 22-bit fixed point and
// 8-bit results after the horizontal and after the vertical pass), then table[channel][value], into
// out [size][size][3]. Takes its working memory from the arena: the same amount for every picture
// whose sides are at most ImageLimits::kMaxSide. While the arena is planning nothing else happens.
using ValueTable = std::array<std::array<float, 256>, 3>;
void encoder_input(const ImageView& image, const EncoderGeometry& geometry, const ValueTable& table,
                   const KernelTable& kernels, Arena& arena, ThreadPool& pool, const Tensor& out);

// OpenCV's resize(INTER_LINEAR) of 8-bit pictures to the last bit, padded with 114, divided by 255,
// into out [height][width][3] of the geometry. `size` is the geometry's: it alone decides the
// memory taken.
void detector_input(const ImageView& image, const LetterboxGeometry& geometry, size_t size,
                    Arena& arena, ThreadPool& pool, const Tensor& out);

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_IMAGE_RESIZE_H_
