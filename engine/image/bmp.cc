#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <string>

#include "engine/image/decoders.h"

namespace lightcap::internal {
namespace {

constexpr size_t kFileHeader = 14;
constexpr size_t kInfoAt = kFileHeader;  // where the second header begins
constexpr size_t kOldHeader = 12;        // OS/2's first: 16-bit sizes, palette entries of 3 bytes
constexpr size_t kMasksAt = 54;          // behind 40 bytes of header, or as fields of longer ones

enum Compression : uint32_t {
  kPlain = 0,
  kRuns8 = 1,
  kRuns4 = 2,
  kMasks = 3,
  kJpegInside = 4,
  kPngInside = 5,
  kMasksAndAlpha = 6,
};

struct Header {
  size_t header_bytes = 0;
  size_t width = 0, height = 0;
  bool top_down = false;
  size_t bits = 0;  // of a pixel
  uint32_t compression = kPlain;
  size_t pixels_at = 0;

  size_t row_bytes() const { return (bits * width + 31) / 32 * 4; }
};

void check_kind(const EncodedImage& file, const Header& header) {
  const std::string accepted = "; accepted are plain ones of 1, 4, 8, 16, 24 or 32 bits a pixel";
  switch (header.compression) {
    case kPlain:
    case kMasks:
    case kMasksAndAlpha:
      break;
    case kRuns8:
    case kRuns4:
      file.refuse("this BMP is run-length coded (RLE)" + accepted);
    case kJpegInside:
      file.refuse("this BMP has a JPEG inside" + accepted);
    case kPngInside:
      file.refuse("this BMP has a PNG inside" + accepted);
    default:
      file.refuse("this BMP has the unknown compression " + std::to_string(header.compression) +
                  accepted);
  }
  constexpr size_t kBits[] = {1, 4, 8, 16, 24, 32};
  if (std::find(std::begin(kBits), std::end(kBits), header.bits) == std::end(kBits))
    file.refuse("this BMP has " + std::to_string(header.bits) + " bits a pixel" + accepted);
  if (header.compression != kPlain && header.bits != 16 && header.bits != 32)
    file.refuse("the BMP's header is damaged: it has colour masks and " +
                std::to_string(header.bits) + " bits a pixel");
}

Header read_header(const EncodedImage& file) {
  const auto need = [&](size_t bytes) {
    if (file.size < bytes) file.refuse("the BMP is cut short within its header");
  };
  need(kInfoAt + 4);
  Header header;
  header.pixels_at = file.little_endian_u32(10);
  header.header_bytes = file.little_endian_u32(kInfoAt);
  constexpr size_t kKnown[] = {kOldHeader, 40, 52, 56, 64, 108, 124};
  if (std::find(std::begin(kKnown), std::end(kKnown), header.header_bytes) == std::end(kKnown)) {
    file.refuse("the BMP has an unknown kind of header, of " + std::to_string(header.header_bytes) +
                " bytes");
  }
  need(kInfoAt + header.header_bytes);
  const bool old = header.header_bytes == kOldHeader;
  const size_t planes_at = old ? 22 : 26;
  if (old) {
    header.width = file.little_endian_u16(18);
    header.height = file.little_endian_u16(20);
  } else {
    const auto width = static_cast<int32_t>(file.little_endian_u32(18));
    const auto height = static_cast<int32_t>(file.little_endian_u32(22));
    if (width < 0)
      file.refuse("the BMP's header is damaged: its width is " + std::to_string(width));
    header.width = static_cast<size_t>(width);
    header.top_down = height < 0;
    header.height = static_cast<size_t>(std::abs(int64_t{height}));
    header.compression = file.little_endian_u32(30);
  }
  header.bits = file.little_endian_u16(planes_at + 2);
  file.check_size(header.width, header.height);
  if (file.little_endian_u16(planes_at) != 1)
    file.refuse("the BMP's header is damaged: it has " +
                std::to_string(file.little_endian_u16(planes_at)) + " planes");
  check_kind(file, header);
  if (header.pixels_at < kInfoAt + header.header_bytes)
    file.refuse("the BMP's header is damaged: its pixels begin inside of it");
  const uint64_t end = header.pixels_at + (header.height - 1) * header.row_bytes() +
                       (header.bits * header.width + 7) / 8;
  if (end > file.size) {
    file.refuse("the BMP is cut short: it has " + std::to_string(file.size) +
                " bytes, expected are " + std::to_string(end));
  }
  return header;
}

using Colour = std::array<uint8_t, 3>;

// The colours between header and pixels, black for those that the file lacks.
std::array<Colour, 256> read_palette(const EncodedImage& file, const Header& header) {
  const size_t entry = header.header_bytes == kOldHeader ? 3 : 4;
  const size_t begin = kInfoAt + header.header_bytes;
  const size_t most = size_t{1} << header.bits;
  const size_t colours = std::min(most, (header.pixels_at - begin) / entry);
  if (colours == 0) file.refuse("the BMP's header is damaged: it has no palette");
  std::array<Colour, 256> palette = {};
  for (size_t i = 0; i < colours; ++i) {
    const uint8_t* stored = file.data + begin + i * entry;
    palette[i] = {stored[2], stored[1], stored[0]};
  }
  return palette;
}

// One channel of a pixel of 16 or 32 bits.
struct Channel {
  uint32_t mask = 0;
  int shift = 0, bits = 0;

  // The highest 8 bits; fewer are repeated until there are 8.
  uint8_t value(uint32_t pixel) const {
    uint32_t value = (pixel & mask) >> shift;
    if (bits >= 8) return static_cast<uint8_t>(value >> (bits - 8));
    value <<= 8 - bits;
    for (int have = bits; have < 8; have *= 2) value |= value >> have;
    return static_cast<uint8_t>(value);
  }
};

using Channels = std::array<Channel, 3>;

Channels read_channels(const EncodedImage& file, const Header& header) {
  std::array<uint32_t, 3> masks = {0xff0000, 0xff00, 0xff};
  if (header.bits == 16) masks = {0x7c00, 0x3e0, 0x1f};
  if (header.compression != kPlain) {
    if (header.pixels_at < kMasksAt + 12)
      file.refuse("the BMP's header is damaged: its colour masks are missing");
    for (size_t c = 0; c < 3; ++c) masks[c] = file.little_endian_u32(kMasksAt + 4 * c);
  }
  Channels channels;
  for (size_t c = 0; c < 3; ++c) {
    Channel& channel = channels[c];
    channel = {masks[c], std::countr_zero(masks[c]), std::popcount(masks[c])};
    const bool contiguous =
        masks[c] != 0 && (uint64_t{masks[c]} >> channel.shift) == (uint64_t{1} << channel.bits) - 1;
    if (!contiguous)
      file.refuse("the BMP's header is damaged: a colour mask of it is " +
                  std::to_string(masks[c]));
  }
  return channels;
}

void unpack_indices(const uint8_t* from, const Header& header,
                    const std::array<Colour, 256>& palette, uint8_t* to) {
  const size_t in_byte = 8 / header.bits;
  const uint32_t mask = (1u << header.bits) - 1;
  for (size_t x = 0; x < header.width; ++x, to += 3) {
    const size_t shift = 8 - header.bits * (x % in_byte + 1);
    const Colour& colour = palette[from[x / in_byte] >> shift & mask];
    std::copy(colour.begin(), colour.end(), to);
  }
}

void unpack_channels(const uint8_t* from, const Header& header, const Channels& channels,
                     uint8_t* to) {
  const size_t bytes = header.bits / 8;
  for (size_t x = 0; x < header.width; ++x, from += bytes) {
    uint32_t pixel = 0;
    for (size_t i = 0; i < bytes; ++i) pixel |= uint32_t{from[i]} << (8 * i);
    for (const Channel& channel : channels) *to++ = channel.value(pixel);
  }
}

}  // namespace

// Rows of whole 32-bit words, the lowest row first unless the height is negative.
Image decode_bmp(const EncodedImage& file) {
  const Header header = read_header(file);
  std::array<Colour, 256> palette = {};
  Channels channels;
  if (header.bits <= 8) {
    palette = read_palette(file, header);
  } else {
    channels = read_channels(file, header);
  }
  Image image = blank_image(header.width, header.height);
  for (size_t y = 0; y < header.height; ++y) {
    check_interruption(file.use.interruption);
    const size_t row = header.top_down ? y : header.height - 1 - y;
    const uint8_t* from = file.data + header.pixels_at + row * header.row_bytes();
    uint8_t* to = image.pixels.get() + 3 * y * header.width;
    if (header.bits <= 8) {
      unpack_indices(from, header, palette, to);
    } else {
      unpack_channels(from, header, channels, to);
    }
  }
  return image;
}

}  // namespace lightcap::internal
