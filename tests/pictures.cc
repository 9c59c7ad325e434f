#include "tests/pictures.h"

#include <cstdlib>

#include "engine/io/crc32.h"
#include "engine/runtime/error.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace lightcap::internal::testing {
namespace {

void write(void* context, void* data, int size) {
  auto& buffer = *static_cast<Buffer*>(context);
  buffer.insert(buffer.end(), static_cast<uint8_t*>(data), static_cast<uint8_t*>(data) + size);
}

void append_number(Buffer& to, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<uint8_t>(value >> shift));
}

}  // namespace

Buffer bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

void append(Buffer& to, const Buffer& bytes) { insert(to, to.size(), bytes); }

void insert(Buffer& into, size_t at, const Buffer& bytes) {
  into.insert(into.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin(), bytes.end());
}

void erase(Buffer& from, size_t at, size_t bytes) {
  const auto begin = from.begin() + static_cast<std::ptrdiff_t>(at);
  from.erase(begin, begin + static_cast<std::ptrdiff_t>(bytes));
}

Buffer drawn(int channels) {
  Buffer pixels;
  for (int i = 0; i < kWidth * kHeight * channels; ++i)
    pixels.push_back(static_cast<uint8_t>(i * 11 + 3));
  return pixels;
}

Buffer png(int channels) {
  Buffer file;
  stbi_write_png_to_func(write, &file, kWidth, kHeight, channels, drawn(channels).data(),
                         kWidth * channels);
  return file;
}

Buffer bmp() {
  Buffer file;
  stbi_write_bmp_to_func(write, &file, kWidth, kHeight, 3, drawn(3).data());
  return file;
}

Buffer ppm(const std::string& header) {
  Buffer file = bytes_of(header);
  append(file, drawn(3));
  return file;
}

Buffer jpeg(int width, int height) {
  Buffer pixels(static_cast<size_t>(3 * width * height));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i / 7);
  return jpeg_of(pixels, width, height, 90);
}

Buffer jpeg_of(const Buffer& pixels, int width, int height, int quality) {
  Buffer file;
  stbi_write_jpg_to_func(write, &file, width, height, 3, pixels.data(), quality);
  return file;
}

void append_chunk(Buffer& file, std::string_view name, const Buffer& data) {
  append_number(file, static_cast<uint32_t>(data.size()));
  const size_t begin = file.size();
  append(file, bytes_of(name));
  append(file, data);
  append_number(file, crc32(file.data() + begin, file.size() - begin));
}

Buffer chunk(std::string_view name, const Buffer& data) {
  Buffer result;
  append_chunk(result, name, data);
  return result;
}

Buffer zlib(const Buffer& data) {
  Buffer input = data;
  int size = 0;
  uint8_t* packed = stbi_zlib_compress(input.data(), static_cast<int>(input.size()), &size, 5);
  const Buffer result(packed, packed + size);
  std::free(packed);
  return result;
}

Buffer png_of(uint32_t width, uint32_t height, uint8_t bits, uint8_t colour, const Buffer& rows,
              const Buffer& before, uint8_t interlaced) {
  Buffer file = bytes_of("\x89PNG\r\n\x1a\n"), header;
  append_number(header, width);
  append_number(header, height);
  append(header, {bits, colour, 0, 0, interlaced});
  append_chunk(file, "IHDR", header);
  append(file, before);
  append_chunk(file, "IDAT", zlib(rows));
  append_chunk(file, "IEND", {});
  return file;
}

Buffer grey_png(uint8_t width, uint8_t height, uint8_t bits, const Buffer& rows) {
  return png_of(width, height, bits, 0, rows);
}

size_t segment(const Buffer& file, uint8_t kind) {
  size_t at = 2;
  while (file[at + 1] != kind) at += segment_bytes(file, at);
  return at;
}

size_t segment_bytes(const Buffer& file, size_t at) {
  return 2 + (size_t{file[at + 2]} << 8 | file[at + 3]);
}

Buffer jpeg_segment(uint8_t kind, const Buffer& content) {
  const size_t length = content.size() + 2;
  Buffer result = {0xff, kind, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  append(result, content);
  return result;
}

Image decode(const Buffer& file, bool apply_exif, const ImageLimits& limits) {
  return decode_image(file.data(), file.size(), limits, apply_exif, "test");
}

Buffer pixels_of(const Image& image) {
  return {image.pixels.get(), image.pixels.get() + 3 * image.width * image.height};
}

std::string error_of(const Buffer& file, const ImageLimits& limits) {
  try {
    decode(file, true, limits);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInput);
    EXPECT_EQ(std::string(error.what()).find("test: "), 0u) << error.what();
    return error.what();
  }
}

}  // namespace lightcap::internal::testing
