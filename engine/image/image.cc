#include "engine/image/image.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "engine/image/decoders.h"
#include "engine/image/exif.h"
#include "engine/image/formats.h"
#include "engine/io/file.h"
#include "engine/runtime/block.h"
#include "engine/runtime/error.h"

namespace lightcap::internal {

void EncodedImage::refuse(const std::string& what) const {
  throw Error(ErrorCode::kInput, source + ": " + what);
}

void EncodedImage::check_size(uint64_t width, uint64_t height) const {
  constexpr uint64_t kMaxSide = ImageLimits::kMaxSide;
  const auto text = [](uint64_t number) { return std::to_string(number); };
  if (width == 0 || height == 0)
    refuse("the picture's header is damaged: it says " + text(width) + " x " + text(height) +
           " pixels");
  if (width > kMaxSide || height > kMaxSide || width * height > limits.max_pixels) {
    refuse("the picture has " + text(width) + " x " + text(height) + " pixels, the limits are " +
           text(kMaxSide) + " a side and " + text(limits.max_pixels) + " in all");
  }
}

uint32_t EncodedImage::big_endian_u16(size_t at) const {
  return uint32_t{data[at]} << 8 | data[at + 1];
}
uint32_t EncodedImage::big_endian_u32(size_t at) const {
  return big_endian_u16(at) << 16 | big_endian_u16(at + 2);
}
uint32_t EncodedImage::little_endian_u16(size_t at) const {
  return uint32_t{data[at + 1]} << 8 | data[at];
}
uint32_t EncodedImage::little_endian_u32(size_t at) const {
  return little_endian_u16(at + 2) << 16 | little_endian_u16(at);
}

Image blank_image(size_t width, size_t height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.reset(static_cast<uint8_t*>(std::malloc(3 * width * height)));
  if (image.pixels == nullptr) throw std::bad_alloc();
  prefer_huge_pages(image.pixels.get(), 3 * width * height);
  return image;
}

void EncodedImage::refuse_undecoded(const char* format, uint64_t memory_limit,
                                    const StbFailure& failure) const {
  if (failure.over_limit) {
    refuse(std::string("the ") + format +
           " unpacks to far more than its size in pixels needs; the limit for a picture of this "
           "size is " +
           std::to_string(memory_limit) + " bytes");
  }
  refuse(std::string("the ") + format + " cannot be decoded, it is damaged" +
         (failure.reason.empty() ? "" : ": " + failure.reason));
}

std::vector<uint8_t> spliced(const uint8_t* data, size_t size, size_t at, size_t removed,
                             const std::vector<uint8_t>& inserted) {
  std::vector<uint8_t> result;
  result.reserve(size - removed + inserted.size());
  result.insert(result.end(), data, data + at);
  result.insert(result.end(), inserted.begin(), inserted.end());
  result.insert(result.end(), data + at + removed, data + size);
  return result;
}

namespace {

Image decode_as(ImageFormat format, const EncodedImage& file) {
  switch (format) {
    case ImageFormat::kJpeg:
      return decode_jpeg(file);
    case ImageFormat::kPng:
      return decode_png(file);
    case ImageFormat::kBmp:
      return decode_bmp(file);
    case ImageFormat::kPnm:
      break;
  }
  return decode_pnm(file);
}

}  // namespace

Image upright(Image image, int orientation, const Interruption* interruption) {
  if (orientation <= 1 || orientation > 8) return image;
  const Turn turn = turn_of(orientation);
  Image turned = turn.transposes ? blank_image(image.height, image.width)
                                 : blank_image(image.width, image.height);
  turned.full_width = turn.transposes ? image.full_height : image.full_width;
  turned.full_height = turn.transposes ? image.full_width : image.full_height;
  const auto turn_row = [&](size_t y, size_t begin, size_t end) {
    uint8_t* to = turned.pixels.get() + 3 * (y * turned.width + begin);
    for (size_t x = begin; x < end; ++x, to += 3) {
      const size_t from_x = turn.mirrors_x ? turned.width - 1 - x : x;
      const size_t from_y = turn.mirrors_y ? turned.height - 1 - y : y;
      const size_t pixel =
          turn.transposes ? from_x * image.width + from_y : from_y * image.width + from_x;
      std::memcpy(to, image.pixels.get() + 3 * pixel, 3);
    }
  };
  // Tile by tile, so that a column read is not lost from the cache before its neighbour is.
  constexpr size_t kTile = 32;
  for (size_t top = 0; top < turned.height; top += kTile) {
    check_interruption(interruption);
    for (size_t left = 0; left < turned.width; left += kTile) {
      const size_t right = std::min(left + kTile, turned.width);
      for (size_t y = top; y < std::min(top + kTile, turned.height); ++y) turn_row(y, left, right);
    }
  }
  return turned;
}

Image decode_image(const uint8_t* data, size_t size, const ImageLimits& limits, bool apply_exif,
                   const std::string& source, const ImageUse& use) {
  // stb_image counts bytes in int, and its buffers grow by doubling.
  const size_t max_bytes = std::min(limits.max_bytes, size_t{INT_MAX / 2});
  const EncodedImage file = {data, size, limits, source, use};
  if (size > max_bytes) {
    file.refuse("the picture has " + std::to_string(size) + " bytes, the limit is " +
                std::to_string(max_bytes));
  }
  Image image = decode_as(recognise_image(data, size, source), file);
  if (!apply_exif) return image;
  const int orientation = exif_orientation(data, size, use.interruption);
  return upright(std::move(image), orientation, use.interruption);
}

Image read_image(const std::string& path, const ImageLimits& limits, bool apply_exif,
                 const ImageUse& use) {
  const std::vector<uint8_t> bytes =
      read_file(path, ErrorCode::kInput, limits.max_bytes, use.interruption);
  return decode_image(bytes.data(), bytes.size(), limits, apply_exif, path, use);
}

}  // namespace lightcap::internal
