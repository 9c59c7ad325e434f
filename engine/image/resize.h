// Resampling of 8-bit pictures, to the last bit as Pillow and OpenCV do it: networks are trained on
// what these two make of pictures, and give other results on what a look-alike makes.
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

namespace lightcap::internal {

// A window into the picture as it is after resizing: its top left pixel.
struct ResizedWindow {
  size_t resized_width = 0, resized_height = 0;  // of the whole picture
  size_t left = 0, top = 0;
};

// The float that each 8-bit value becomes: [channel][value].
using ValueTable = std::array<std::array<float, 256>, 3>;

// Pillow's Image.resize(BICUBIC) (a = -0.5, antialiased; 22-bit fixed point and 8-bit results after
// the horizontal and after the vertical pass), then table[channel][value], into the square
// out [size][size][3], which is the window. Takes its working memory from the arena: the same
// amount for every picture whose sides are at most ImageLimits::kMaxSide. While the arena is
// planning nothing else happens.
void resize_bicubic(const ImageView& image, const ResizedWindow& window, const ValueTable& table,
                    const KernelTable& kernels, Arena& arena, ThreadPool& pool, const Tensor& out);

// OpenCV's resize(INTER_LINEAR), divided by 255, into out [height][width][3]. `longest` is the
// longest side that `out` may have: it alone decides the memory taken from the arena. While the
// arena is planning nothing else happens.
void resize_bilinear(const ImageView& image, size_t longest, Arena& arena, ThreadPool& pool,
                     const Tensor& out);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_RESIZE_H_
