#include "engine/image/image.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "engine/image/exif.h"
#include "engine/io/crc32.h"
#include "engine/io/file.h"
#include "engine/runtime/error.h"

namespace lightcap {
namespace {

// stb_image lets compressed data unpack to any size, whatever the header says. So no block of
// memory may be larger than the picture's own size explains.
struct DecoderMemory {
  uint64_t largest_block = 0;
  bool refused = false;

  bool allows(size_t bytes) {
    refused = refused || bytes > largest_block;
    return bytes <= largest_block;
  }
};
thread_local DecoderMemory decoder_memory;

// Zeros, since stb_image before 2.28 decodes with tables that a JPEG never defined: what they hold
// must not be chance.
void* decoder_malloc(size_t bytes) {
  return decoder_memory.allows(bytes) ? std::calloc(bytes, 1) : nullptr;
}

void* decoder_realloc(void* memory, size_t bytes) {
  return decoder_memory.allows(bytes) ? std::realloc(memory, bytes) : nullptr;
}

}  // namespace
}  // namespace lightcap

// Only what is wanted, in this file alone: a host may carry its own stb_image, and decoders that
// nobody asked for are attack surface. PNM is read below: stb_image neither scales it nor swaps its
// bytes.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_MAX_DIMENSIONS 16384
#define STBI_MALLOC(bytes) lightcap::decoder_malloc(bytes)
#define STBI_REALLOC(memory, bytes) lightcap::decoder_realloc(memory, bytes)
#define STBI_FREE(memory) std::free(memory)
#define STBI_ASSERT(condition) static_cast<void>(0)
#ifdef __ARM_NEON
#define STBI_NEON
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace lightcap {
namespace {

static_assert(STBI_MAX_DIMENSIONS == ImageLimits::kMaxSide);

enum class Format { kJpeg, kPng, kBmp, kPnm, kOther };

struct Signature {
  std::string_view bytes;
  size_t offset;
  Format format;
  const char* name;
};

using namespace std::string_view_literals;
constexpr Signature kSignatures[] = {
    {"\xff\xd8\xff"sv, 0, Format::kJpeg, "JPEG"},
    {"\x89PNG\r\n\x1a\n"sv, 0, Format::kPng, "PNG"},
    {"BM"sv, 0, Format::kBmp, "BMP"},
    {"P5"sv, 0, Format::kPnm, "PNM"},
    {"P6"sv, 0, Format::kPnm, "PNM"},
    {"GIF8"sv, 0, Format::kOther, "a GIF"},
    {"WEBP"sv, 8, Format::kOther, "a WebP picture"},
    {"ftypavif"sv, 4, Format::kOther, "an AVIF picture"},
    {"ftyphei"sv, 4, Format::kOther, "a HEIC picture"},
    {"ftypmif1"sv, 4, Format::kOther, "a HEIF picture"},
    {"ftyp"sv, 4, Format::kOther, "a video"},
    {"II*\0"sv, 0, Format::kOther, "a TIFF picture"},
    {"MM\0*"sv, 0, Format::kOther, "a TIFF picture"},
    {"\xff\x0a"sv, 0, Format::kOther, "a JPEG XL picture"},
    {"\0\0\0\x0cJXL "sv, 0, Format::kOther, "a JPEG XL picture"},
    {"\0\0\0\x0cjP  "sv, 0, Format::kOther, "a JPEG 2000 picture"},
    {"8BPS"sv, 0, Format::kOther, "a Photoshop document"},
    {"%PDF"sv, 0, Format::kOther, "a PDF document"},
    {"<svg"sv, 0, Format::kOther, "an SVG drawing"},
    {"<?xml"sv, 0, Format::kOther, "an XML document"},
    {"<!DOCTYPE"sv, 0, Format::kOther, "an HTML page"},
    {"<!doctype"sv, 0, Format::kOther, "an HTML page"},
    {"<html"sv, 0, Format::kOther, "an HTML page"},
    {"version https://git-lfs"sv, 0, Format::kOther,
     "a Git LFS pointer, not the file it stands for"},
    {"P1"sv, 0, Format::kOther, "a PNM in plain text"},
    {"P2"sv, 0, Format::kOther, "a PNM in plain text"},
    {"P3"sv, 0, Format::kOther, "a PNM in plain text"},
    {"P4"sv, 0, Format::kOther, "a bi-level PBM"},
    {"\x1f\x8b"sv, 0, Format::kOther, "a gzip archive"},
    {"PK\x03\x04"sv, 0, Format::kOther, "a zip archive"},
};

constexpr const char* kAccepted = "accepted are JPEG, PNG, BMP and binary PNM (P5, P6)";

[[noreturn]] void fail(const std::string& source, const std::string& what) {
  throw Error(ErrorCode::kInput, source + ": " + what);
}

const Signature* find_signature(std::string_view bytes) {
  for (const Signature& signature : kSignatures) {
    if (bytes.size() >= signature.offset &&
        bytes.substr(signature.offset, signature.bytes.size()) == signature.bytes) {
      return &signature;
    }
  }
  return nullptr;
}

bool looks_like_text(std::string_view bytes) {
  return std::none_of(bytes.begin(), bytes.end(), [](char c) {
    return static_cast<uint8_t>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
}

const Signature& recognise(const uint8_t* data, size_t size, const std::string& source) {
  if (size == 0) fail(source, "the file is empty");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Signature* found = find_signature(bytes);
  if (found != nullptr && found->format != Format::kOther) return *found;
  const std::string_view start = bytes.substr(0, 256);
  if (found == nullptr && looks_like_text(start)) {
    // A web page may begin with a byte order mark and empty lines.
    const size_t first = start.find_first_not_of("\xef\xbb\xbf \t\r\n");
    found = find_signature(start.substr(std::min(first, start.size())));
    if (found == nullptr || found->format != Format::kOther)
      fail(source, std::string("this is text, not a picture; ") + kAccepted);
  }
  if (found == nullptr) fail(source, std::string("not a picture in a known format; ") + kAccepted);
  fail(source, std::string("this is ") + found->name + "; " + kAccepted);
}

uint32_t big_endian_u32(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
}

// stb_image reads neither checksums nor, if the picture seems complete, the end.
void check_png(const uint8_t* data, size_t size, const std::string& source) {
  size_t at = 8;
  while (true) {
    if (size - at < 12)
      fail(source, "the PNG is cut short after " + std::to_string(size) + " bytes");
    const size_t length = big_endian_u32(data + at);
    if (length > size - at - 12) {
      fail(source, "the PNG is cut short: a chunk at byte " + std::to_string(at) + " wants " +
                       std::to_string(length) + " bytes, " + std::to_string(size - at - 12) +
                       " are left");
    }
    if (crc32(data + at + 4, length + 4) != big_endian_u32(data + at + 8 + length)) {
      fail(source, "the PNG is damaged: the checksum of the chunk at byte " + std::to_string(at) +
                       " does not match");
    }
    const bool end = std::memcmp(data + at + 4, "IEND", 4) == 0;
    at += 12 + length;
    if (end) return;
  }
}

// stb_image before 2.28 writes beyond its tables where one has more than 256 codes.
void check_huffman_tables(const uint8_t* data, size_t size, size_t begin, size_t end,
                          const std::string& source) {
  constexpr size_t kCounts = 16;  // of codes, by length
  while (begin < end && size - begin > kCounts) {
    size_t codes = 0;
    for (size_t i = 1; i <= kCounts; ++i) codes += data[begin + i];
    if (codes > 256) break;
    begin += 1 + kCounts + codes;
    if (begin == end) return;
  }
  fail(source, "the JPEG is damaged: it has a Huffman table that cannot be");
}

// A JPEG without its end marker is a download that broke off; stb_image would paint the rest grey.
void check_jpeg(const uint8_t* data, size_t size, const std::string& source) {
  size_t at = 2;
  while (size - at >= 2) {
    if (data[at] != 0xff) {  // entropy-coded data, or filling between segments
      const void* next = std::memchr(data + at, 0xff, size - at - 1);
      if (next == nullptr) break;
      at = static_cast<size_t>(static_cast<const uint8_t*>(next) - data);
    }
    const uint8_t marker = data[at + 1];
    if (marker == 0xd9) return;
    if (marker == 0xff) {  // filling
      ++at;
      continue;
    }
    const bool stands_alone = marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8);
    if (stands_alone) {
      at += 2;
      continue;
    }
    if (marker == 0xc3 || (marker >= 0xc5 && marker <= 0xcf && marker != 0xc8 && marker != 0xcc)) {
      fail(source,
           "this JPEG is lossless, hierarchical or arithmetic-coded; accepted are baseline and "
           "progressive ones");
    }
    if (size - at < 4) break;
    const size_t length = size_t{data[at + 2]} << 8 | data[at + 3];
    if (length > size - at - 2) break;
    if (marker == 0xc4) check_huffman_tables(data, size, at + 4, at + 2 + length, source);
    at += 2 + length;
  }
  fail(source,
       "the JPEG is cut short: it has no end marker within its " + std::to_string(size) + " bytes");
}

uint32_t little_endian_u32(const uint8_t* p) {
  return uint32_t{p[3]} << 24 | uint32_t{p[2]} << 16 | uint32_t{p[1]} << 8 | p[0];
}

// stb_image takes what is missing for zeros.
void check_bmp(const uint8_t* data, size_t size, size_t width, size_t height,
               const std::string& source) {
  constexpr size_t kHeaders = 14 + 16;  // up to the fields read here
  if (size < kHeaders) fail(source, "the BMP is cut short within its header");
  const uint64_t begin = little_endian_u32(data + 10);
  const bool old_header = little_endian_u32(data + 14) == 12;
  const uint64_t bits = uint64_t{data[old_header ? 24 : 28]} * width;
  const uint64_t end = begin + (height - 1) * ((bits + 31) / 32 * 4) + (bits + 7) / 8;
  if (end > size) {
    fail(source, "the BMP is cut short: it has " + std::to_string(size) + " bytes, expected are " +
                     std::to_string(end));
  }
}

void check_size(uint64_t width, uint64_t height, const ImageLimits& limits,
                const std::string& source) {
  constexpr uint64_t kMaxSide = ImageLimits::kMaxSide;
  if (width > kMaxSide || height > kMaxSide || width * height > limits.max_pixels) {
    fail(source, "the picture has " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels, the limits are " + std::to_string(kMaxSide) + " a side and " +
                     std::to_string(limits.max_pixels) + " in all");
  }
}

Image blank_image(size_t width, size_t height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.reset(static_cast<uint8_t*>(std::malloc(3 * width * height)));
  if (image.pixels == nullptr) throw std::bad_alloc();
  return image;
}

// The next decimal number of a PNM header, after white space and comments; at most 10^9.
uint32_t pnm_number(const uint8_t* data, size_t size, size_t& at, const std::string& source) {
  const auto is_space = [](uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  bool comment = false;
  for (; at < size && (comment || is_space(data[at]) || data[at] == '#'); ++at) {
    comment = (comment || data[at] == '#') && data[at] != '\n' && data[at] != '\r';
  }
  const size_t begin = at;
  uint32_t number = 0;
  for (; at < size && data[at] >= '0' && data[at] <= '9'; ++at)
    number = std::min(number * 10 + (data[at] - uint32_t{'0'}), uint32_t{100'000'000});
  if (at == begin || at == size || !(is_space(data[at]) || data[at] == '#'))
    fail(source, "the PNM's header is damaged at byte " + std::to_string(at));
  return number;
}

// Binary PNM, "P5" (grey) or "P6": three numbers, one white space, then values of one byte, or of
// two, the higher first, where the third number, the largest value, is above 255.
Image decode_pnm(const uint8_t* data, size_t size, const ImageLimits& limits,
                 const std::string& source) {
  const size_t channels = data[1] == '5' ? 1 : 3;
  size_t at = 2;
  const size_t width = pnm_number(data, size, at, source);
  const size_t height = pnm_number(data, size, at, source);
  const uint32_t largest = pnm_number(data, size, at, source);
  ++at;
  if (width == 0 || height == 0 || largest == 0 || largest > 65535) {
    fail(source, "the PNM's header is damaged: it says " + std::to_string(width) + " x " +
                     std::to_string(height) + " pixels up to " + std::to_string(largest));
  }
  check_size(width, height, limits, source);
  const size_t value_bytes = largest > 255 ? 2 : 1;
  const uint64_t wanted = uint64_t{width} * height * channels * value_bytes;
  if (wanted > size - at) {
    fail(source, "the PNM is cut short: it has " + std::to_string(size) + " bytes, expected are " +
                     std::to_string(at + wanted));
  }
  std::vector<uint8_t> levels(largest + 1);
  for (uint32_t value = 0; value <= largest; ++value)
    levels[value] = static_cast<uint8_t>(std::nearbyint(double{1} * value / largest * 255));
  Image image = blank_image(width, height);
  const uint8_t* from = data + at;
  uint8_t* to = image.pixels.get();
  for (size_t pixel = 0; pixel < width * height; ++pixel, to += 3) {
    for (size_t c = 0; c < channels; ++c, from += value_bytes) {
      const uint32_t value = value_bytes == 1 ? from[0] : uint32_t{from[0]} << 8 | from[1];
      to[c] = levels[std::min(value, largest)];
    }
    if (channels == 1) to[1] = to[2] = to[0];
  }
  return image;
}

// JPEG, PNG and BMP, by stb_image.
Image decode_stb(const uint8_t* data, size_t size, const Signature& signature,
                 const ImageLimits& limits, const std::string& source) {
  if (signature.format == Format::kPng) check_png(data, size, source);
  if (signature.format == Format::kJpeg) check_jpeg(data, size, source);
  const auto length = static_cast<int>(size);
  int width = 0, height = 0, channels = 0;
  decoder_memory = {uint64_t{1} << 20, false};
  // Rows of a BMP from top to bottom have a negative height.
  if (stbi_info_from_memory(data, length, &width, &height, &channels) == 0 || width < 1 ||
      height == 0 || height == INT_MIN) {
    fail(source, std::string("the ") + signature.name +
                     "'s header is damaged, or of a kind that is not supported");
  }
  const auto columns = static_cast<size_t>(width), rows = static_cast<size_t>(std::abs(height));
  check_size(columns, rows, limits, source);
  if (signature.format == Format::kBmp) check_bmp(data, size, columns, rows, source);

  // 8 bytes for a 16-bit RGBA pixel, and buffers grow by doubling; 64: whole blocks of a JPEG.
  const uint64_t explained = 16 * uint64_t{columns + 64} * (rows + 64) + 2 * uint64_t{size};
  decoder_memory = {explained, false};
  Image image;
  image.pixels.reset(stbi_load_from_memory(data, length, &width, &height, &channels, 3));
  if (image.pixels == nullptr) {
    if (decoder_memory.refused)
      fail(source, "the picture unpacks to far more than its size in pixels needs");
    const char* reason = stbi_failure_reason();
    if (std::strcmp(reason, "outofmem") == 0) throw std::bad_alloc();
    fail(source,
         std::string("the ") + signature.name + " cannot be decoded, it is damaged: " + reason);
  }
  image.width = static_cast<size_t>(width);
  image.height = static_cast<size_t>(height);
  return image;
}

}  // namespace

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool transpose = orientation >= 5;
  const bool mirror_x =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool mirror_y =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Image turned =
      transpose ? blank_image(image.height, image.width) : blank_image(image.width, image.height);
  const auto turn_row = [&](size_t y, size_t begin, size_t end) {
    uint8_t* to = turned.pixels.get() + 3 * (y * turned.width + begin);
    for (size_t x = begin; x < end; ++x, to += 3) {
      const size_t from_x = mirror_x ? turned.width - 1 - x : x;
      const size_t from_y = mirror_y ? turned.height - 1 - y : y;
      const size_t pixel =
          transpose ? from_x * image.width + from_y : from_y * image.width + from_x;
      std::memcpy(to, image.pixels.get() + 3 * pixel, 3);
    }
  };
  // Tile by tile, so that a column read is not lost from the cache before its neighbour is.
  constexpr size_t kTile = 32;
  for (size_t top = 0; top < turned.height; top += kTile) {
    for (size_t left = 0; left < turned.width; left += kTile) {
      const size_t right = std::min(left + kTile, turned.width);
      for (size_t y = top; y < std::min(top + kTile, turned.height); ++y) turn_row(y, left, right);
    }
  }
  return turned;
}

Image decode_image(const uint8_t* data, size_t size, const ImageLimits& limits, bool apply_exif,
                   const std::string& source) {
  const size_t max_bytes = std::min(limits.max_bytes, size_t{INT_MAX});  // stb_image counts in int
  if (size > max_bytes) {
    fail(source, "the picture has " + std::to_string(size) + " bytes, the limit is " +
                     std::to_string(max_bytes));
  }
  const Signature& signature = recognise(data, size, source);
  Image image = signature.format == Format::kPnm
                    ? decode_pnm(data, size, limits, source)
                    : decode_stb(data, size, signature, limits, source);
  return apply_exif ? upright(std::move(image), exif_orientation(data, size)) : std::move(image);
}

Image read_image(const std::string& path, const ImageLimits& limits, bool apply_exif) {
  const std::vector<uint8_t> bytes = read_file(path, ErrorCode::kInput, limits.max_bytes);
  return decode_image(bytes.data(), bytes.size(), limits, apply_exif, path);
}

}  // namespace lightcap
