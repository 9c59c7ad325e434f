#include "engine/image.h"

#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "engine/crc32.h"
#include "engine/error.h"
#include "engine/exif.h"
#include "engine/file.h"

// Only what is wanted, in this file alone: a host may carry its own stb_image, and decoders that
// nobody asked for are attack surface.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_ONLY_PNM
#define STBI_MAX_DIMENSIONS 16384
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

Format recognise(const uint8_t* data, size_t size, const std::string& source) {
  if (size == 0) fail(source, "the file is empty");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const Signature& signature : kSignatures) {
    if (size < signature.offset ||
        bytes.substr(signature.offset, signature.bytes.size()) != signature.bytes) {
      continue;
    }
    if (signature.format != Format::kOther) return signature.format;
    fail(source, std::string("this is ") + signature.name + "; " + kAccepted);
  }
  fail(source, std::string("not a picture in a known format; ") + kAccepted);
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

// A JPEG without its end marker is a download that broke off; stb_image would paint the rest grey.
void check_jpeg(const uint8_t* data, size_t size, const std::string& source) {
  size_t at = 2;
  bool scan = false;
  while (size - at >= 2) {
    if (scan && data[at] != 0xff) {  // entropy-coded data
      const void* next = std::memchr(data + at, 0xff, size - at - 1);
      if (next == nullptr) break;
      at = static_cast<size_t>(static_cast<const uint8_t*>(next) - data);
      continue;
    }
    if (data[at] != 0xff)
      fail(source, "the JPEG is damaged: no marker at byte " + std::to_string(at));
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
    if (size - at < 4) break;
    const size_t length = size_t{data[at + 2]} << 8 | data[at + 3];
    if (length > size - at - 2) break;
    at += 2 + length;
    scan = marker == 0xda || scan;
  }
  fail(source,
       "the JPEG is cut short: it has no end marker within its " + std::to_string(size) + " bytes");
}

Image blank_image(size_t width, size_t height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.reset(static_cast<uint8_t*>(std::malloc(3 * width * height)));
  if (image.pixels == nullptr) throw std::bad_alloc();
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
  uint8_t* to = turned.pixels.get();
  for (size_t y = 0; y < turned.height; ++y) {
    for (size_t x = 0; x < turned.width; ++x, to += 3) {
      const size_t from_x = mirror_x ? turned.width - 1 - x : x;
      const size_t from_y = mirror_y ? turned.height - 1 - y : y;
      const size_t pixel =
          transpose ? from_x * image.width + from_y : from_y * image.width + from_x;
      std::memcpy(to, image.pixels.get() + 3 * pixel, 3);
    }
  }
  return turned;
}

Image decode_image(const uint8_t* data, size_t size, const ImageLimits& limits, bool apply_exif,
                   const std::string& source) {
  if (size > limits.max_bytes) {
    fail(source, "the picture has " + std::to_string(size) + " bytes, the limit is " +
                     std::to_string(limits.max_bytes));
  }
  const Format format = recognise(data, size, source);
  if (format == Format::kPng) check_png(data, size, source);
  if (format == Format::kJpeg) check_jpeg(data, size, source);
  const auto length = static_cast<int>(size);
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(data, length, &width, &height, &channels) == 0 || width < 1 ||
      height < 1) {
    fail(source, std::string("the picture is damaged, or of a kind that is not supported: ") +
                     stbi_failure_reason());
  }
  const uint64_t pixels = static_cast<uint64_t>(width) * static_cast<uint64_t>(height);
  constexpr int kMaxSide = static_cast<int>(ImageLimits::kMaxSide);
  if (width > kMaxSide || height > kMaxSide || pixels > limits.max_pixels) {
    fail(source, "the picture has " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels, the limits are " + std::to_string(kMaxSide) + " a side and " +
                     std::to_string(limits.max_pixels) + " in all");
  }
  Image image;
  image.pixels.reset(stbi_load_from_memory(data, length, &width, &height, &channels, 3));
  if (image.pixels == nullptr) {
    const char* reason = stbi_failure_reason();
    if (std::strcmp(reason, "outofmem") == 0) throw std::bad_alloc();
    fail(source, std::string("the picture cannot be decoded: ") + reason);
  }
  image.width = static_cast<size_t>(width);
  image.height = static_cast<size_t>(height);
  return apply_exif ? upright(std::move(image), exif_orientation(data, size)) : std::move(image);
}

Image read_image(const std::string& path, const ImageLimits& limits, bool apply_exif) {
  const std::vector<uint8_t> bytes = read_file(path, ErrorCode::kInput, limits.max_bytes);
  return decode_image(bytes.data(), bytes.size(), limits, apply_exif, path);
}

}  // namespace lightcap
