// stb_image behind a face of our own: JPEG and deflate, with the memory bounded. It lies in a file
// of its own because it needs compiler flags that nothing else should have.
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

// The reason why a call gave nothing.
struct StbFailure {
  bool over_limit = false;  // it asked for more than the limit
  std::string reason;       // stb_image's word for any other
};

struct StbPicture : StbFailure {
  size_t width = 0, height = 0;
  StbBytes pixels;  // [height][width][3]; null if it failed
};

struct StbUnpacked : StbFailure {
  size_t size = 0;
  StbBytes bytes;  // null if it failed
};

struct PackedBytes {
  const uint8_t* data;
  size_t size;
  size_t expected = 0;          // bytes that they unpack to, if that is known
  bool has_zlib_header = true;  // else they are deflate's blocks alone
};

// Both are safe to call from any number of threads, leak nothing whatever happens, and throw
// std::bad_alloc if memory runs out below the limit, and Error(kCancelled). Sizes up to INT_MAX.
StbPicture stb_decode_jpeg(const uint8_t* data, size_t size, const StbLimits& limits);
StbUnpacked stb_unpack(const PackedBytes& packed, const StbLimits& limits);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_STB_H_
