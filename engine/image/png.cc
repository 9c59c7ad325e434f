// PNG, and Apple's variant of it. stb_image decodes, without looking at checksums or, if the
// picture seems complete, at the end; the walk over the chunks does.
#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "engine/image/decoders.h"
#include "engine/io/crc32.h"
#include "engine/io/limits.h"

namespace lightcap::internal {
namespace {

constexpr size_t kSignature = 8;
constexpr size_t kChunkHeader = 8, kChunkEnd = 4;

enum ColourType : uint8_t { kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6 };

struct PngHeader {
  size_t width = 0, height = 0;
  size_t bits = 0;  // of a value
  uint8_t colour = kGrey;
  bool interlaced = false;
  bool transparent_colour = false;  // tRNS: stb_image makes an alpha channel of it
  bool apple = false;               // CgBI
  size_t palette_at = 0, palette_bytes = 0;
  uint64_t packed_bytes = 0;  // of all IDAT chunks

  size_t channels() const {
    switch (colour) {
      case kRgb:
        return 3;
      case kGreyAlpha:
        return 2;
      case kRgba:
        return 4;
      default:
        return 1;
    }
  }
};

void read_size(const EncodedImage& file, size_t at, size_t length, PngHeader& header) {
  const auto damaged = [&](const std::string& what) {
    file.refuse("the PNG's header is damaged: " + what);
  };
  if (header.width != 0) damaged("there are two");
  if (length != 13) damaged("it has " + std::to_string(length) + " bytes, expected are 13");
  header.width = file.big_endian_u32(at);
  header.height = file.big_endian_u32(at + 4);
  file.check_size(header.width, header.height);
  header.bits = file.data[at + 8];
  header.colour = file.data[at + 9];
  if (header.colour > kRgba || header.colour == 1 || header.colour == 5)
    damaged("its colour type is " + std::to_string(header.colour));
  const bool known = header.bits == 8 || (header.bits == 16 && header.colour != kPalette) ||
                     ((header.bits == 1 || header.bits == 2 || header.bits == 4) &&
                      (header.colour == kGrey || header.colour == kPalette));
  if (!known) {
    damaged("its colour type, " + std::to_string(header.colour) + ", does not go with " +
            std::to_string(header.bits) + " bits");
  }
  if (file.data[at + 10] != 0 || file.data[at + 11] != 0 || file.data[at + 12] > 1)
    damaged("it asks for an unknown compression, filter or interlacing");
  header.interlaced = file.data[at + 12] == 1;
}

// Goes over all chunks.
PngHeader read_chunks(const EncodedImage& file) {
  PngHeader header;
  size_t at = kSignature;
  while (true) {
    check_interruption(file.use.interruption);
    if (file.size - at < kChunkHeader + kChunkEnd)
      file.refuse("the PNG is cut short after " + std::to_string(file.size) + " bytes");
    const size_t length = file.big_endian_u32(at), left = file.size - at - kChunkHeader - kChunkEnd;
    const size_t content = at + kChunkHeader;
    const auto is = [&](const char* name) { return std::memcmp(file.data + at + 4, name, 4) == 0; };
    if (length > left) {
      file.refuse("the PNG is cut short: a chunk at byte " + std::to_string(at) + " wants " +
                  std::to_string(length) + " bytes, " + std::to_string(left) + " are left");
    }
    if (crc32(file.data + at + 4, length + 4) != file.big_endian_u32(content + length)) {
      file.refuse("the PNG is damaged: the checksum of the chunk at byte " + std::to_string(at) +
                  " does not match");
    }
    if (is("IHDR")) {
      read_size(file, content, length, header);
    } else if (is("CgBI")) {
      header.apple = true;
    } else if (header.width == 0) {
      file.refuse("the PNG is damaged: it does not begin with its header");
    } else if (is("PLTE")) {
      header.palette_at = at;
      header.palette_bytes = length;
    } else if (is("IDAT")) {
      header.packed_bytes += length;
    } else if (is("tRNS")) {
      header.transparent_colour = header.colour != kPalette;
    } else if (is("IEND")) {
      return header;
    }
    at = content + length + kChunkEnd;
  }
}

uint64_t unpacked_bytes(const PngHeader& header, uint64_t width, uint64_t height) {
  if (width == 0) return 0;
  return (1 + (header.channels() * header.bits * width + 7) / 8) * height;
}

// The size that the compressed data of a complete picture unpack to: rows with a filter byte each;
// if interlaced, those of the seven passes.
uint64_t unpacked_bytes(const PngHeader& header) {
  if (!header.interlaced) return unpacked_bytes(header, header.width, header.height);
  constexpr struct {
    size_t x, y, step_x, step_y;
  } kPasses[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                 {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  uint64_t bytes = 0;
  for (const auto& pass : kPasses) {
    const auto count = [](size_t size, size_t first, size_t step) {
      return size > first ? (size - first + step - 1) / step : 0;
    };
    bytes += unpacked_bytes(header, count(header.width, pass.x, pass.step_x),
                            count(header.height, pass.y, pass.step_y));
  }
  return bytes;
}

// The memory that stb_image holds at once. The buffer for unpacked data begins with a guess, too
// small for an interlaced picture, and doubles; data behind the picture's are seen in real files.
uint64_t memory_limit(const EncodedImage& file, const PngHeader& header, uint64_t out_channels) {
  constexpr uint64_t kSlack = uint64_t{1} << 16;
  const uint64_t pixels = uint64_t{header.width} * header.height;
  const uint64_t value_bytes = header.bits == 16 ? 2 : 1;
  const uint64_t stored_channels = header.channels() + (header.transparent_colour ? 1 : 0);
  const uint64_t values = pixels * stored_channels * value_bytes;
  const uint64_t unpacked =
      2 * std::max(unpacked_bytes(header), uint64_t{header.height} * header.channels() *
                                                   ((header.width * header.bits + 7) / 8) +
                                               header.height);
  const uint64_t packed = 2 * uint64_t{file.size};
  const uint64_t rows = 2 * uint64_t{header.width} * stored_channels * value_bytes;  // from 2.30 on
  // In order: inflating; taking filters off; changing channels; 16 bits to 8.
  return kSlack + rows +
         std::max({packed + unpacked,
                   unpacked + values * (header.interlaced ? 2 : 1) +
                       (header.colour == kPalette ? out_channels * pixels : 0),
                   values + out_channels * pixels * value_bytes,
                   out_channels * pixels * (value_bytes + 1)});
}

void check_bytes(const EncodedImage& file, const PngHeader& header) {
  const uint64_t channels = header.channels() + (header.transparent_colour ? 1 : 0);
  const uint64_t values =
      uint64_t{header.width} * header.height * channels * (header.bits == 16 ? 2 : 1);
  const uint64_t unpacked = unpacked_bytes(header);
  // stb_image counts in int, which only limits far above the usual ones allow to exceed.
  if (values > INT_MAX || unpacked > INT_MAX) {
    file.refuse("the PNG has " + std::to_string(values) + " bytes of pixels, the limit is " +
                std::to_string(INT_MAX));
  }
  const uint64_t most_packed = limits::png_packed_bytes(unpacked);
  if (header.packed_bytes > most_packed) {
    file.refuse("the PNG has " + std::to_string(header.packed_bytes) +
                " bytes of compressed data, the limit for a picture of this size is " +
                std::to_string(most_packed));
  }
}

// A palette of as many colours as the pixels can name, black behind those that there are: what
// stb_image shows for the others is chance.
std::vector<uint8_t> with_full_palette(const EncodedImage& file, const PngHeader& header) {
  const size_t bytes = 3 * (size_t{1} << header.bits);
  std::vector<uint8_t> chunk(kChunkHeader + bytes + kChunkEnd);
  const uint8_t* stored = file.data + header.palette_at;
  std::copy(stored, stored + kChunkHeader + header.palette_bytes, chunk.begin());
  for (size_t i = 0; i < 4; ++i) chunk[i] = static_cast<uint8_t>(bytes >> (24 - 8 * i));
  return spliced(file.data, file.size, header.palette_at,
                 kChunkHeader + header.palette_bytes + kChunkEnd, chunk);
}

// Apple's pngcrush stores blue first and, with alpha, colours multiplied by it; there is no zlib
// header, which stb_image knows.
Image from_apple(const StbPicture& picture, size_t channels) {
  Image image = blank_image(picture.width, picture.height);
  const uint8_t* from = picture.pixels.get();
  uint8_t* to = image.pixels.get();
  for (size_t i = 0; i < picture.width * picture.height; ++i, from += channels, to += 3) {
    const uint32_t alpha = channels == 4 ? from[3] : 255;
    for (size_t c = 0; c < 3; ++c) {
      const uint32_t value = from[2 - c];
      to[c] = static_cast<uint8_t>(
          alpha == 0 ? value : std::min((value * 255 + alpha / 2) / alpha, uint32_t{255}));
    }
  }
  return image;
}

// Grey values to RGB in the memory that holds them: a picture of each beside the other would take a
// third more.
Image from_grey(StbPicture picture) {
  const size_t pixels = picture.width * picture.height;
  auto* values = static_cast<uint8_t*>(std::realloc(picture.pixels.get(), 3 * pixels));
  if (values == nullptr) throw std::bad_alloc();
  static_cast<void>(picture.pixels.release());  // realloc has freed or moved it
  Image image;
  image.width = picture.width;
  image.height = picture.height;
  image.pixels.reset(values);
  // From the last pixel on, so that none is overwritten before it is read.
  for (size_t i = pixels; i-- > 0;)
    values[3 * i] = values[3 * i + 1] = values[3 * i + 2] = values[i];
  return image;
}

}  // namespace

Image decode_png(const EncodedImage& file) {
  const PngHeader header = read_chunks(file);
  check_bytes(file, header);
  std::vector<uint8_t> repaired;
  const uint8_t* bytes = file.data;
  size_t size = file.size;
  if (header.colour == kPalette) {
    if (header.palette_bytes == 0 || header.palette_bytes > 768 || header.palette_bytes % 3 != 0)
      file.refuse("the PNG is damaged: its palette has " + std::to_string(header.palette_bytes) +
                  " bytes");
    if (header.palette_bytes < 3 * (size_t{1} << header.bits)) {
      repaired = with_full_palette(file, header);
      bytes = repaired.data();
      size = repaired.size();
    }
  }
  const bool apple_colours = header.apple && (header.colour == kRgb || header.colour == kRgba);
  const bool is_grey = header.colour == kGrey && !header.transparent_colour;
  const size_t channels = is_grey ? 1 : apple_colours && header.colour == kRgba ? 4 : 3;
  StbPicture picture = decode_with_stb(file, bytes, size, static_cast<int>(channels), "PNG",
                                       memory_limit(file, header, channels));
  if (apple_colours) return from_apple(picture, channels);
  if (is_grey) return from_grey(std::move(picture));
  return {picture.width, picture.height, std::move(picture.pixels)};
}

}  // namespace lightcap::internal
