// Frames of the C API.
#ifndef LIGHTCAP_API_FRAME_LAYOUT_H_
#define LIGHTCAP_API_FRAME_LAYOUT_H_

#include "engine/image/frame.h"
#include "lightcap.h"

namespace lightcap::internal {

// The layout of a frame, whose struct_size is right. Throws Error(kUsage) where numbers contradict
// each other, and Error(kInput) for a picture that is too large, or empty.
FrameLayout frame_layout(const lightcap_frame& given);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_API_FRAME_LAYOUT_H_
