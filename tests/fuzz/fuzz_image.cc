// Pictures of any format: a picture or an error, with its orientation.
#include <cstring>
#include <vector>

#include "engine/image/exif.h"
#include "engine/image/image.h"
#include "engine/io/crc32.h"
#include "engine/runtime/error.h"

namespace {

using Bytes = std::vector<uint8_t>;

// Sets the checksums of a PNG right, which mutation hardly ever does.
Bytes with_checksums(Bytes file) {
  constexpr size_t kSignature = 8;
  if (file.size() < kSignature || std::memcmp(file.data(), "\x89PNG", 4) != 0) return file;
  for (size_t at = kSignature; file.size() - at >= 12;) {
    const uint8_t* chunk = file.data() + at;
    const size_t length =
        size_t{chunk[0]} << 24 | size_t{chunk[1]} << 16 | size_t{chunk[2]} << 8 | chunk[3];
    if (length > file.size() - at - 12) break;
    const uint32_t crc = lightcap::crc32(chunk + 4, length + 4);
    for (size_t i = 0; i < 4; ++i)
      file[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
  return file;
}

// The sum of all bytes: reading each of them, a buffer that is too short shows.
unsigned decode(const Bytes& file, bool apply_exif) {
  lightcap::ImageLimits limits;
  limits.max_pixels = 1 << 18;  // what larger pictures would add is time
  unsigned sum = 0;
  try {
    const lightcap::Image image =
        lightcap::decode_image(file.data(), file.size(), limits, apply_exif, "fuzz");
    if (image.width * image.height > limits.max_pixels) __builtin_trap();
    for (size_t i = 0; i < 3 * image.width * image.height; ++i) sum += image.pixels.get()[i];
  } catch (const lightcap::Error&) {
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes file = with_checksums({data, data + size});
  const int orientation = lightcap::exif_orientation(file.data(), file.size());
  if (orientation < 1 || orientation > 8) __builtin_trap();
  const unsigned stored = decode(file, false);
  // Turning moves pixels and changes none.
  if (orientation != 1 && decode(file, true) != stored) __builtin_trap();
  return 0;
}
