// Pictures as cameras and screens have them, read as rows of upright 8-bit RGB.
#ifndef LIGHTCAP_ENGINE_IMAGE_FRAME_H_
#define LIGHTCAP_ENGINE_IMAGE_FRAME_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/image/image.h"

namespace lightcap::internal {

// The bytes of a pixel, in this order; alpha is dropped. kYuv420 has planes of Y, U and V, the
// latter with a value for each 2 x 2 pixels, in rows and columns rounded up.
enum class PixelFormat { kRgb, kBgr, kRgba, kBgra, kGrey, kYuv420 };

// Somebody else's pixels, where they lie: as many planes as the format has.
struct FrameLayout {
  PixelFormat format = PixelFormat::kRgb;
  size_t width = 0, height = 0;  // as stored
  std::array<const uint8_t*, 3> planes = {};
  std::array<size_t, 3> row_bytes = {};    // from a row to the next
  std::array<size_t, 3> pixel_bytes = {};  // from a value to the next in its row
  int orientation = 1;                     // EXIF's, 1 to 8: how to turn the picture upright
  bool full_range = false;                 // Y is 0 to 255, not 16 to 235, and U and V alike
  bool bt709 = false;                      // the matrix is BT.709's, not BT.601's
};

class Frame {
 public:
  explicit Frame(const FrameLayout& layout);
  // Callers that have RGB need not know of other layouts.
  Frame(const ImageView& image);  // NOLINT(google-explicit-constructor)

  // The sides of the upright picture.
  size_t width() const { return width_; }
  size_t height() const { return height_; }

  // Row y of the upright picture, [width][3]: where it lies, or in `scratch`, which has room for
  // it.
  const uint8_t* row(size_t y, uint8_t* scratch) const {
    return is_rgb_ ? layout_.planes[0] + y * layout_.row_bytes[0] : converted_row(y, scratch);
  }

 private:
  // A walk along a row or a column of a plane, in pixels of the picture.
  struct Walk {
    const uint8_t* begin;
    ptrdiff_t step;
  };
  Walk walk(size_t plane, size_t across) const;
  const uint8_t* converted_row(size_t y, uint8_t* out) const;
  template <class Position>
  void convert_colors(const Walk& pixels, uint8_t* out, Position position) const;
  template <class Position>
  void convert_yuv(size_t across, uint8_t* out, Position position) const;

  FrameLayout layout_;
  size_t width_, height_;
  bool is_rgb_;  // upright rows of 3 bytes a pixel
  bool is_transposed_, mirrors_x_, mirrors_y_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_FRAME_H_
