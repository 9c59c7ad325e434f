// Boxes, and the pixel grids that their coordinates are of. There are four: the image, the
// detector's input, the image encoder's input, and the cells of the encoder's features. A map
// between two of them is always a CoordinateMap; models/preprocess.h says which ones there are.
#ifndef LIGHTCAP_MODELS_COORDINATES_H_
#define LIGHTCAP_MODELS_COORDINATES_H_

#include <algorithm>
#include <cstddef>

namespace lightcap::internal {

// Corners in pixels of some grid: the top left pixel covers [0, 1] x [0, 1].
struct Box {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  float score = 0;
};

// The part of `box` within [0, width] x [0, height].
inline Box clipped(const Box& box, size_t width, size_t height) {
  const auto w = static_cast<float>(width), h = static_cast<float>(height);
  return {std::clamp(box.x1, 0.0f, w), std::clamp(box.y1, 0.0f, h), std::clamp(box.x2, 0.0f, w),
          std::clamp(box.y2, 0.0f, h), box.score};
}

// From the coordinates of one grid to those of another: to = from * scale + offset on each axis.
struct CoordinateMap {
  float scale_x = 1, scale_y = 1;
  float offset_x = 0, offset_y = 0;

  Box apply(const Box& box) const {
    return {box.x1 * scale_x + offset_x, box.y1 * scale_y + offset_y, box.x2 * scale_x + offset_x,
            box.y2 * scale_y + offset_y, box.score};
  }
  // The box that apply() turns into `box`.
  Box invert(const Box& box) const {
    return {(box.x1 - offset_x) / scale_x, (box.y1 - offset_y) / scale_y,
            (box.x2 - offset_x) / scale_x, (box.y2 - offset_y) / scale_y, box.score};
  }
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_COORDINATES_H_
