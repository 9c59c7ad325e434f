// Pictures: encoded bytes to 8-bit RGB.
#ifndef LIGHTCAP_ENGINE_IMAGE_IMAGE_H_
#define LIGHTCAP_ENGINE_IMAGE_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "engine/runtime/interruption.h"

namespace lightcap::internal {

// 8-bit RGB, somebody else's.
struct ImageView {
  const uint8_t* data = nullptr;
  size_t width = 0, height = 0;
  size_t row_bytes = 0;
};

struct Image {
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  size_t width = 0, height = 0;
  std::unique_ptr<uint8_t, Free> pixels;  // [height][width][3]
  // The sides of the picture that this is a smaller copy of; 0: it is none.
  size_t full_width = 0, full_height = 0;

  ImageView view() const { return {pixels.get(), width, height, 3 * width}; }
};

// Limits that are checked before anything is decoded.
struct ImageLimits {
  static constexpr size_t kMaxSide = 16384;
  uint64_t max_pixels = uint64_t{1} << 26;
  size_t max_bytes = size_t{1} << 28;  // of the encoded file
};

// The use that is to be made of a picture.
struct ImageUse {
  // Ends reading and decoding within a millisecond, and memory is given back in another: where
  // there are no huge pages, in up to 12 for 12 megapixels. Only a progressive JPEG's scan whose
  // data are missing is gone over in one piece: some 6 ms for as many. May be null.
  const Interruption* interruption = nullptr;
  // Sides of which more is not wanted: a decoder that can may make a smaller copy of the picture,
  // with its proportions and at least these sides.
  size_t shorter_side = ImageLimits::kMaxSide, longer_side = ImageLimits::kMaxSide;
};

// Decodes JPEG, PNG, BMP or PNM as Pillow's convert("RGB") would: grey expanded, palette resolved,
// alpha dropped, 16-bit reduced to its high byte; then turned upright if `apply_exif`, as
// exif_orientation says. `source` names the picture in messages. Throws Error(kInput): other
// formats are named, limits are said, damaged and truncated files are refused, checksums of PNG
// included; and std::bad_alloc. Time and memory are in proportion to the file's bytes and the
// pixels.
Image decode_image(const uint8_t* data, size_t size, const ImageLimits& limits, bool apply_exif,
                   const std::string& source = "the image", const ImageUse& use = {});
Image read_image(const std::string& path, const ImageLimits& limits, bool apply_exif,
                 const ImageUse& use = {});

// Turns a picture by an EXIF orientation, 1 to 8.
Image upright(Image image, int orientation, const Interruption* interruption = nullptr);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_IMAGE_H_
