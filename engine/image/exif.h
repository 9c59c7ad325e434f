// The one thing of EXIF that captions need.
#ifndef LIGHTCAP_ENGINE_IMAGE_EXIF_H_
#define LIGHTCAP_ENGINE_IMAGE_EXIF_H_

#include <cstddef>
#include <cstdint>

namespace lightcap {

// The orientation, 1 to 8, of a JPEG (APP1) or PNG (eXIf) file; 1, upright, where there is none or
// the block is damaged. Never reads outside [data, data + size).
int exif_orientation(const uint8_t* data, size_t size);

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_IMAGE_EXIF_H_
