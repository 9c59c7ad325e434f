// The one thing of EXIF and XMP that captions need.
#ifndef LIGHTCAP_ENGINE_IMAGE_EXIF_H_
#define LIGHTCAP_ENGINE_IMAGE_EXIF_H_

#include <cstddef>
#include <cstdint>

#include "engine/runtime/interruption.h"

namespace lightcap::internal {

// The orientation, 1 to 8, of a JPEG or PNG file: that of its EXIF block (APP1, eXIf, or a text
// chunk as ImageMagick writes it) or, if that has none, of its XMP packet (APP1 or a text chunk);
// 1, upright, where neither has one or it is damaged. This is Pillow's order too. Never reads
// outside [data, data + size). Throws std::bad_alloc, and Error(kCancelled) if `interruption`,
// which may be null, says so.
int exif_orientation(const uint8_t* data, size_t size, const Interruption* interruption = nullptr);

// How EXIF's orientation, 1 to 8, turns a picture: its upright pixel (x, y) is mirrored first, and
// rows and columns are exchanged then.
struct Turn {
  bool transposes, mirrors_x, mirrors_y;
};
constexpr Turn turn_of(int orientation) {
  const auto is = [orientation](int a, int b, int c, int d) {
    return orientation == a || orientation == b || orientation == c || orientation == d;
  };
  return {orientation >= 5, is(2, 3, 6, 7), is(3, 4, 7, 8)};
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_EXIF_H_
