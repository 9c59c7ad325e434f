#include "engine/image/turbo.h"

namespace lightcap::internal {

Image turbo_decode(const EncodedImage&, const uint8_t*, size_t) { return {}; }

}  // namespace lightcap::internal
