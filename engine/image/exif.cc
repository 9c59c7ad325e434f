#include "engine/image/exif.h"

#include <cstring>

namespace lightcap {
namespace {

constexpr int kUpright = 1;
constexpr uint16_t kOrientationTag = 0x0112;
constexpr uint16_t kShort = 3;

// A block of bytes read at offsets; outside it every number is 0.
struct Block {
  const uint8_t* data;
  size_t size;
  bool big_endian = true;

  bool holds(size_t offset, size_t count) const { return offset <= size && count <= size - offset; }
  uint32_t number(size_t offset, size_t bytes) const {
    if (!holds(offset, bytes)) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      const size_t at = offset + (big_endian ? i : bytes - 1 - i);
      value = value << 8 | data[at];
    }
    return value;
  }
  uint32_t u16(size_t offset) const { return number(offset, 2); }
  uint32_t u32(size_t offset) const { return number(offset, 4); }
  bool equals(size_t offset, const char* text, size_t count) const {
    return holds(offset, count) && std::memcmp(data + offset, text, count) == 0;
  }
  Block part(size_t offset, size_t count) const {
    if (!holds(offset, count)) return {data, 0};
    return {data + offset, count};
  }
};

// A TIFF header and its first directory.
int orientation_of_tiff(Block tiff) {
  if (tiff.equals(0, "II*\0", 4)) {
    tiff.big_endian = false;
  } else if (!tiff.equals(0, "MM\0*", 4)) {
    return kUpright;
  }
  const size_t directory = tiff.u32(4);
  const size_t entries = tiff.u16(directory);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (!tiff.holds(entry, 12)) return kUpright;
    if (tiff.u16(entry) != kOrientationTag) continue;
    const uint32_t value = tiff.u16(entry + 8);
    return tiff.u16(entry + 2) == kShort && value >= 1 && value <= 8 ? static_cast<int>(value)
                                                                     : kUpright;
  }
  return kUpright;
}

// Walks the segments before the picture's data.
int orientation_of_jpeg(const Block& file) {
  size_t at = 2;
  while (file.holds(at, 4) && file.data[at] == 0xff) {
    const uint8_t marker = file.data[at + 1];
    if (marker == 0xff) {  // filling
      ++at;
      continue;
    }
    const size_t length = file.u16(at + 2);
    if (marker == 0xda || marker == 0xd9 || length < 2) return kUpright;
    if (marker == 0xe1 && file.equals(at + 4, "Exif\0\0", 6) && length >= 8) {
      return orientation_of_tiff(file.part(at + 10, length - 8));
    }
    at += 2 + length;
  }
  return kUpright;
}

int orientation_of_png(const Block& file) {
  size_t at = 8;
  while (file.holds(at, 8)) {
    const size_t length = file.u32(at);
    if (file.equals(at + 4, "eXIf", 4)) return orientation_of_tiff(file.part(at + 8, length));
    if (file.equals(at + 4, "IEND", 4)) return kUpright;
    at += 12 + length;  // 32-bit length: cannot wrap around
  }
  return kUpright;
}

}  // namespace

int exif_orientation(const uint8_t* data, size_t size) {
  const Block file = {data, size};
  if (file.equals(0, "\xff\xd8", 2)) return orientation_of_jpeg(file);
  if (file.equals(0, "\x89PNG", 4)) return orientation_of_png(file);
  return kUpright;
}

}  // namespace lightcap
