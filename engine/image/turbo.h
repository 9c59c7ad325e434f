// JPEGs by libjpeg-turbo, several times as fast as stb_image and, where fewer pixels serve as well,
// smaller: in builds that have it (LIGHTCAP_JPEG_TURBO).
#ifndef LIGHTCAP_ENGINE_IMAGE_TURBO_H_
#define LIGHTCAP_ENGINE_IMAGE_TURBO_H_

#include <cstddef>
#include <cstdint>

#include "engine/image/decoders.h"

namespace lightcap::internal {

// The picture of a JPEG that is known to be complete; `bytes` are those of `file` or a repaired
// copy. No pixels where the build has no libjpeg-turbo, and where that has anything to object: then
// it is for stb_image to decode, or to say what is wrong. So a file's fate does not depend on the
// build. Throws std::bad_alloc and Error(kCancelled).
Image turbo_decode(const EncodedImage& file, const uint8_t* bytes, size_t size);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_TURBO_H_
