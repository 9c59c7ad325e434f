// Small encoded pictures, made by the tests themselves, and what tests ask of their decoding.
#ifndef LIGHTCAP_TESTS_PICTURES_H_
#define LIGHTCAP_TESTS_PICTURES_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image/image.h"

namespace lightcap::internal::testing {

using Buffer = std::vector<uint8_t>;

Buffer bytes_of(std::string_view text);
void append(Buffer& to, const Buffer& bytes);
void insert(Buffer& into, size_t at, const Buffer& bytes);
void erase(Buffer& from, size_t at, size_t bytes);

// 5 x 3 pixels that all differ, and files of them.
constexpr int kWidth = 5, kHeight = 3;
Buffer drawn(int channels);
Buffer png(int channels);
Buffer bmp();
Buffer ppm(const std::string& header = "P6\n5 3\n255\n");
// A gradient.
Buffer jpeg(int width = 40, int height = 24);
// RGB pixels.
Buffer jpeg_of(const Buffer& pixels, int width, int height, int quality);

// Parts of a PNG.
void append_chunk(Buffer& file, std::string_view name, const Buffer& data);
Buffer chunk(std::string_view name, const Buffer& data);
Buffer zlib(const Buffer& data);
// A PNG of `rows` as they are compressed, each with its filter byte; `before` comes between header
// and data.
Buffer png_of(uint32_t width, uint32_t height, uint8_t bits, uint8_t colour, const Buffer& rows,
              const Buffer& before = {}, uint8_t interlaced = 0);
Buffer grey_png(uint8_t width, uint8_t height, uint8_t bits, const Buffer& rows);

// The position of a JPEG's first segment of a kind, and the length of the segment at a position.
size_t segment(const Buffer& file, uint8_t kind);
size_t segment_bytes(const Buffer& file, size_t at);
Buffer jpeg_segment(uint8_t kind, const Buffer& content);

Image decode(const Buffer& file, bool apply_exif = true, const ImageLimits& limits = {});
Buffer pixels_of(const Image& image);
// The error's words, or "" where it decodes.
std::string error_of(const Buffer& file, const ImageLimits& limits = {});

#define EXPECT_SAYS(error, words) EXPECT_NE((error).find(words), std::string::npos) << (error)

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_PICTURES_H_
