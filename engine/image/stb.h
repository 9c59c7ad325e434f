// stb_image behind a face of our own: JPEG, PNG and deflate, with the memory bounded. It lies in a
// file of its own because it needs compiler flags that nothing else should have.
#ifndef LIGHTCAP_ENGINE_IMAGE_STB_H_
#define LIGHTCAP_ENGINE_IMAGE_STB_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "engine/image/image.h"

namespace lightcap::internal {

using StbBytes = decltype(Image::pixels);

// Limits of one call.
struct StbLimits {
  uint64_t bytes;  // the most that are held at once
  // Allocations that succeed before one fails, as if memory had run out: for tests.
  uint64_t allocations = std::numeric_limits<uint64_t>::max();
  const Interruption* interruption = nullptr;  // ends it, as decode_image says; may be null
};

struct StbPicture {
  size_t width = 0, height = 0;
  StbBytes pixels;          // [height][width][channels]; null if it failed
  bool over_limit = false;  // it failed because it asked for more than the limit
  std::string reason;       // stb_image's word for any other failure
};

struct StbUnpacked {
  size_t size = 0;
  StbBytes bytes;  // null if it failed
};

// Both are safe to call from any number of threads, leak nothing whatever happens, and throw
// std::bad_alloc if memory runs out below the limit, and Error(kCancelled). Sizes up to INT_MAX.
StbPicture stb_decode(const uint8_t* data, size_t size, int channels, const StbLimits& limits);
// A zlib stream.
StbUnpacked stb_unpack(const uint8_t* data, size_t size, const StbLimits& limits);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_STB_H_
