// Pictures of any format: a picture or an error, with its orientation.
#include "engine/error.h"
#include "engine/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lightcap::ImageLimits limits;
  limits.max_pixels = 1 << 18;  // what larger pictures would add is time
  for (const bool apply_exif : {false, true}) {
    try {
      const lightcap::Image image = lightcap::decode_image(data, size, limits, apply_exif, "fuzz");
      if (image.width * image.height > limits.max_pixels) __builtin_trap();
      // Reads every pixel: a buffer that is too short shows here.
      unsigned sum = 0;
      for (size_t i = 0; i < 3 * image.width * image.height; ++i) sum += image.pixels.get()[i];
      if (sum == 1u << 31) return 1;
    } catch (const lightcap::Error&) {
    }
  }
  return 0;
}
