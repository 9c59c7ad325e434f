#include "api/frame_layout.h"

#include <string>

#include "api/handles.h"

namespace lightcap::internal {
namespace {

struct Format {
  PixelFormat format;
  size_t planes;       // that the host gives
  size_t pixel_bytes;  // the least, of its first plane
  size_t pair_bytes;   // the least from one value of U to the next
};

Format format_of(int pixels) {
  switch (pixels) {
    case LIGHTCAP_PIXELS_RGB:
      return {PixelFormat::kRgb, 1, 3, 0};
    case LIGHTCAP_PIXELS_BGR:
      return {PixelFormat::kBgr, 1, 3, 0};
    case LIGHTCAP_PIXELS_RGBA:
      return {PixelFormat::kRgba, 1, 4, 0};
    case LIGHTCAP_PIXELS_BGRA:
      return {PixelFormat::kBgra, 1, 4, 0};
    case LIGHTCAP_PIXELS_GREY:
      return {PixelFormat::kGrey, 1, 1, 0};
    case LIGHTCAP_PIXELS_YUV420:
      return {PixelFormat::kYuv420, 3, 1, 1};
    case LIGHTCAP_PIXELS_NV12:
    case LIGHTCAP_PIXELS_NV21:
      return {PixelFormat::kYuv420, 2, 1, 2};
    default:
      usage("frame.format is " + std::to_string(pixels) + ", expected 0 to " +
            std::to_string(LIGHTCAP_PIXELS_NV21));
  }
}

void check_size(size_t width, size_t height) {
  constexpr size_t kMaxSide = ImageLimits::kMaxSide;
  if (width > 0 && height > 0 && width <= kMaxSide && height <= kMaxSide) return;
  throw Error(ErrorCode::kInput, "the image is " + std::to_string(width) + " x " +
                                     std::to_string(height) + " pixels, expected sides of 1 to " +
                                     std::to_string(kMaxSide));
}

// The distance that the host gave, `least` where it gave none.
size_t distance(size_t given, size_t least, const std::string& name, size_t plane) {
  if (given == 0) return least;
  // More than any row takes: products of it with a side don't overflow.
  constexpr size_t kMost = size_t{1} << 31;
  if (given < least || given > kMost) {
    usage("frame." + name + "[" + std::to_string(plane) + "] is " + std::to_string(given) +
          ", expected " + std::to_string(least) + " to " + std::to_string(kMost));
  }
  return given;
}

}  // namespace

FrameLayout frame_layout(const lightcap_frame& given) {
  const Format format = format_of(given.format);
  check_size(given.width, given.height);
  if (given.orientation < 0 || given.orientation > 8) {
    usage("frame.orientation is " + std::to_string(given.orientation) +
          ", expected EXIF's 1 to 8, or 0");
  }
  FrameLayout layout = {.format = format.format,
                        .width = given.width,
                        .height = given.height,
                        .orientation = given.orientation == 0 ? 1 : given.orientation,
                        .full_range = given.full_range != 0,
                        .bt709 = given.bt709 != 0};
  for (size_t i = 0; i < format.planes; ++i) {
    if (given.plane[i] == nullptr) usage("frame.plane[" + std::to_string(i) + "] is NULL");
    layout.planes[i] = given.plane[i];
    const size_t least = i == 0 ? format.pixel_bytes : format.pair_bytes;
    layout.pixel_bytes[i] = distance(given.pixel_bytes[i], least, "pixel_bytes", i);
    const size_t pixels = i == 0 ? given.width : (given.width + 1) / 2;
    // The last pixel may be shorter than the distance to the next.
    const size_t row = (pixels - 1) * layout.pixel_bytes[i] + least;
    layout.row_bytes[i] = distance(given.row_bytes[i], row, "row_bytes", i);
    if (given.row_bytes[i] == 0) layout.row_bytes[i] = pixels * layout.pixel_bytes[i];
  }
  if (format.planes == 2) {  // U and V by turns
    const size_t u = given.format == LIGHTCAP_PIXELS_NV12 ? 0 : 1;
    layout.planes = {given.plane[0], given.plane[1] + u, given.plane[1] + 1 - u};
    layout.row_bytes[2] = layout.row_bytes[1];
    layout.pixel_bytes[2] = layout.pixel_bytes[1];
  }
  return layout;
}

}  // namespace lightcap::internal
