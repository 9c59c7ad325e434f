// Pictures of any format: a picture or an error, with its orientation, at a cost in proportion to
// its bytes and pixels.
#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "engine/image/exif.h"
#include "engine/image/image.h"
#include "engine/io/crc32.h"
#include "engine/io/limits.h"
#include "engine/runtime/error.h"
#include "tests/fuzz/limits.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMaxPixels = 1 << 16;  // what larger pictures would add is time

bool is_png(const Bytes& file) {
  return file.size() >= 8 && std::memcmp(file.data(), "\x89PNG\r\n\x1a\n", 8) == 0;
}
bool is_jpeg(const Bytes& file) { return file.size() >= 2 && file[0] == 0xff && file[1] == 0xd8; }

// Sets the checksums of a PNG right, which mutation hardly ever does.
Bytes with_checksums(Bytes file) {
  if (!is_png(file)) return file;
  for (size_t at = 8; file.size() - at >= 12;) {
    const uint8_t* chunk = file.data() + at;
    const size_t length =
        size_t{chunk[0]} << 24 | size_t{chunk[1]} << 16 | size_t{chunk[2]} << 8 | chunk[3];
    if (length > file.size() - at - 12) break;
    const uint32_t crc = lightcap::internal::crc32(chunk + 4, length + 4);
    for (size_t i = 0; i < 4; ++i)
      file[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
  return file;
}

// The sum of all bytes: reading each of them, a buffer that is too short shows.
unsigned decode(const Bytes& file, bool apply_exif) {
  lightcap::internal::ImageLimits limits;
  limits.max_pixels = kMaxPixels;
  unsigned sum = 0;
  try {
    const lightcap::internal::Image image =
        lightcap::internal::decode_image(file.data(), file.size(), limits, apply_exif, "fuzz");
    if (image.width * image.height > limits.max_pixels) __builtin_trap();
    for (size_t i = 0; i < 3 * image.width * image.height; ++i) sum += image.pixels.get()[i];
  } catch (const lightcap::internal::Error&) {
  }
  return sum;
}

// A chunk of a PNG or a segment of a JPEG, with the scan's data behind its header.
struct Part {
  uint8_t kind[4] = {};
  Bytes content, tail;
};

std::vector<Part> png_parts(const Bytes& file) {
  std::vector<Part> parts;
  for (size_t at = 8; file.size() - at >= 12;) {
    const size_t length = size_t{file[at]} << 24 | size_t{file[at + 1]} << 16 |
                          size_t{file[at + 2]} << 8 | file[at + 3];
    if (length > file.size() - at - 12) break;
    Part part;
    std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(at + 4), 4, part.kind);
    part.content.assign(file.data() + at + 8, file.data() + at + 8 + length);
    parts.push_back(std::move(part));
    at += 12 + length;
  }
  return parts;
}

Bytes joined_png(const std::vector<Part>& parts) {
  Bytes file = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  for (const Part& part : parts) {
    const size_t length = part.content.size();
    for (int shift = 24; shift >= 0; shift -= 8)
      file.push_back(static_cast<uint8_t>(length >> shift));
    file.insert(file.end(), part.kind, part.kind + 4);
    file.insert(file.end(), part.content.begin(), part.content.end());
    file.insert(file.end(), 4, 0);  // the checksum is set later
  }
  return file;
}

std::vector<Part> jpeg_parts(const Bytes& file) {
  std::vector<Part> parts;
  size_t at = 2;
  while (file.size() - at >= 4 && file[at] == 0xff) {
    const size_t length = size_t{file[at + 2]} << 8 | file[at + 3];
    if (length < 2 || length > file.size() - at - 2) break;
    Part part;
    part.kind[0] = file[at + 1];
    part.content.assign(file.data() + at + 4, file.data() + at + 2 + length);
    at += 2 + length;
    const size_t tail = at;
    if (part.kind[0] == 0xda) {
      const auto ends = [&](size_t i) {
        return file[i] == 0xff && file[i + 1] != 0 && (file[i + 1] & 0xf8) != 0xd0;
      };
      while (file.size() - at >= 2 && !ends(at)) ++at;
    }
    part.tail.assign(file.data() + tail, file.data() + at);
    parts.push_back(std::move(part));
  }
  return parts;
}

Bytes joined_jpeg(const std::vector<Part>& parts) {
  Bytes file = {0xff, 0xd8};
  for (const Part& part : parts) {
    const size_t length = part.content.size() + 2;
    file.insert(file.end(), {0xff, part.kind[0], static_cast<uint8_t>(length >> 8),
                             static_cast<uint8_t>(length)});
    file.insert(file.end(), part.content.begin(), part.content.end());
    file.insert(file.end(), part.tail.begin(), part.tail.end());
  }
  file.insert(file.end(), {0xff, 0xd9});
  return file;
}

void mutate_bytes(Bytes& bytes, size_t most) {
  const size_t size = bytes.size();
  bytes.resize(std::max(size + 64, most));
  bytes.resize(LLVMFuzzerMutate(bytes.data(), size, bytes.size()));
}

// Moves, removes, repeats or changes one part.
void mutate_parts(std::vector<Part>& parts, std::minstd_rand& random) {
  const auto below = [&](size_t count) { return random() % count; };
  const size_t i = below(parts.size()), j = below(parts.size());
  const auto at = [&](size_t index) { return parts.begin() + static_cast<std::ptrdiff_t>(index); };
  switch (below(6)) {
    case 0:
      std::swap(parts[i], parts[j]);
      break;
    case 1:
      parts.erase(at(i));
      break;
    case 2: {
      const Part copy = parts[i];
      parts.insert(at(j), size_t{1} << below(8), copy);
      break;
    }
    case 3:
      mutate_bytes(parts[i].tail, 64);
      break;
    default:
      mutate_bytes(parts[i].content, 64);
      parts[i].content.resize(std::min(parts[i].content.size(), size_t{65533}));
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  std::minstd_rand random(seed);
  Bytes file(data, data + size);
  const bool png = is_png(file);
  if (random() % 2 == 0 || !(png || is_jpeg(file))) return LLVMFuzzerMutate(data, size, max_size);
  std::vector<Part> parts = png ? png_parts(file) : jpeg_parts(file);
  if (parts.empty()) return LLVMFuzzerMutate(data, size, max_size);
  mutate_parts(parts, random);
  file = png ? joined_png(parts) : joined_jpeg(parts);
  if (file.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(file.begin(), file.end(), data);
  return file.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // README says how many bytes a pixel may take; copies of the file come on top.
  constexpr size_t kBytesOfAPixel = 30, kBase = 1 << 19;
  const lightcap::internal::fuzz::InputLimits limits(
      size, kBase + kBytesOfAPixel * kMaxPixels + lightcap::internal::limits::kPngText, 8, 2.0);
  const Bytes file = with_checksums({data, data + size});
  const int orientation = lightcap::internal::exif_orientation(file.data(), file.size());
  if (orientation < 1 || orientation > 8) __builtin_trap();
  const unsigned stored = decode(file, false);
  // Turning moves pixels and changes none.
  if (orientation != 1 && decode(file, true) != stored) __builtin_trap();
  return 0;
}
