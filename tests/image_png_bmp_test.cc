#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image/image.h"
#include "tests/pictures.h"

namespace lightcap::internal {
namespace {

using namespace testing;
using namespace std::string_view_literals;

// ---- PNG ----

// As Apple's pngcrush stores pictures: deflate without zlib's header and checksum, blue first,
// colours multiplied by alpha.
Buffer apple_png(uint32_t width, uint8_t colour, const Buffer& row) {
  Buffer file = bytes_of("\x89PNG\r\n\x1a\n");
  append_chunk(file, "CgBI", {0x50, 0, 0x20, 0x02});
  append_chunk(file, "IHDR",
               {0, 0, 0, static_cast<uint8_t>(width), 0, 0, 0, 1, 8, colour, 0, 0, 0});
  Buffer data = zlib(row);
  erase(data, data.size() - 4, 4);
  erase(data, 0, 2);
  append_chunk(file, "IDAT", data);
  append_chunk(file, "IEND", {});
  return file;
}

TEST(Png, OfAppleAreDecoded) {
  EXPECT_EQ(pixels_of(decode(apple_png(2, 2, {0, 10, 20, 30, 40, 50, 60}))),
            (Buffer{30, 20, 10, 60, 50, 40}));
  const Buffer with_alpha = {0, 10, 20, 30, 255, 10, 20, 30, 128, 5, 6, 7, 0, 9, 9, 9, 3};
  EXPECT_EQ(pixels_of(decode(apple_png(4, 6, with_alpha))),
            (Buffer{30, 20, 10, 60, 40, 20, 7, 6, 5, 255, 255, 255}));
  EXPECT_EQ(pixels_of(decode(apple_png(2, 0, {0, 10, 20}))), (Buffer{10, 10, 10, 20, 20, 20}));
}

TEST(Png, SidesOverTheLimitAreSaidWithTheLimit) {
  EXPECT_SAYS(error_of(png_of(16385, 2, 8, 0, {})),
              "16385 x 2 pixels, the limits are 16384 a side");
  EXPECT_SAYS(error_of(png_of(1, 0xffffffff, 8, 0, {})), "1 x 4294967295 pixels, the limits are");
  EXPECT_SAYS(error_of(png_of(16000, 16000, 8, 2, {})), "67108864 in all");
  EXPECT_SAYS(error_of(png_of(0, 5, 8, 2, {})), "0 x 5 pixels");
}

TEST(Png, ColoursBehindThePaletteAreBlack) {
  const Buffer palette = chunk("PLTE", {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(pixels_of(decode(png_of(4, 1, 8, 3, {0, 1, 2, 255, 0}, palette))),
            (Buffer{4, 5, 6, 0, 0, 0, 0, 0, 0, 1, 2, 3}));
  EXPECT_EQ(pixels_of(decode(png_of(2, 1, 4, 3, {0, 0x1f}, palette))), (Buffer{4, 5, 6, 0, 0, 0}));
  Buffer transparent = palette;
  append_chunk(transparent, "tRNS", {0});
  EXPECT_EQ(pixels_of(decode(png_of(2, 1, 1, 3, {0, 0x40}, transparent))),
            (Buffer{1, 2, 3, 4, 5, 6}));
}

TEST(Png, HeadersThatCannotBeAreNamed) {
  EXPECT_SAYS(error_of(png_of(2, 1, 4, 2, Buffer(9))), "does not go with 4 bits");
  EXPECT_SAYS(error_of(png_of(2, 1, 16, 3, Buffer(9))), "does not go with 16 bits");
  EXPECT_SAYS(error_of(png_of(2, 1, 8, 5, Buffer(9))), "colour type is 5");
  EXPECT_SAYS(error_of(png_of(2, 1, 8, 3, Buffer(9))), "palette has 0 bytes");
  EXPECT_SAYS(error_of(png_of(2, 1, 8, 0, Buffer(9), {}, 2)), "unknown compression, filter");
}

// ---- BMP ----

struct BmpParts {
  uint32_t width, height, bits, compression;
  Buffer masks, palette, pixels;
  uint32_t header_bytes = 40;
};

Buffer bmp_of(const BmpParts& parts) {
  Buffer file = {'B', 'M'};
  const auto number = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) file.push_back(static_cast<uint8_t>(value >> (8 * i)));
  };
  const size_t headers = 14 + parts.header_bytes + parts.masks.size() + parts.palette.size();
  append(file, Buffer(8));
  number(static_cast<uint32_t>(headers), 4);
  number(parts.header_bytes, 4);
  const int size_bytes = parts.header_bytes == 12 ? 2 : 4;
  number(parts.width, size_bytes);
  number(parts.height, size_bytes);
  number(1, 2);
  number(parts.bits, 2);
  if (parts.header_bytes != 12) {
    number(parts.compression, 4);
    append(file, Buffer(14 + parts.header_bytes - file.size()));
  }
  append(file, parts.masks);
  append(file, parts.palette);
  append(file, parts.pixels);
  return file;
}

TEST(Bmp, OfAllDepthsAreDecoded) {
  const Buffer palette = {3, 2, 1, 0, 6, 5, 4, 0};  // blue, green, red, nothing
  const Buffer two = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 1, 0, {}, palette, {0x40, 0, 0, 0}}))), two);
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 4, 0, {}, palette, {0x01, 0, 0, 0}}))), two);
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 8, 0, {}, palette, {0, 1, 0, 0}}))), two);
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 24, 0, {}, {}, {3, 2, 1, 6, 5, 4, 0, 0}}))), two);
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 32, 0, {}, {}, {3, 2, 1, 9, 6, 5, 4, 9}}))), two);
  // 5 bits a channel: red 31 and 16, green 1, blue 0.
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 16, 0, {}, {}, {0x20, 0x7c, 0x00, 0x40}}))),
            (Buffer{255, 8, 0, 132, 0, 0}));
}

TEST(Bmp, ColourMasksAreFollowed) {
  const Buffer five_six_five = {0, 0xf8, 0, 0, 0xe0, 0x07, 0, 0, 0x1f, 0, 0, 0};
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 16, 3, five_six_five, {}, {0x20, 0x04, 0x1f, 0xf8}}))),
            (Buffer{0, 134, 0, 255, 0, 255}));
  const Buffer red_first = {0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0xff, 0};
  EXPECT_EQ(pixels_of(decode(bmp_of({1, 1, 32, 3, red_first, {}, {1, 2, 3, 4}}))),
            (Buffer{1, 2, 3}));
  const Buffer ten_bits = {0, 0, 0xf0, 0x3f, 0, 0xfc, 0x0f, 0, 0xff, 0x03, 0, 0};
  EXPECT_EQ(pixels_of(decode(bmp_of({1, 1, 32, 3, ten_bits, {}, {0xff, 0x03, 0x00, 0x20}}))),
            (Buffer{128, 0, 255}));
  const Buffer torn = {0xf0, 0x0f, 0, 0xf0, 0, 0xff, 0, 0, 0xff, 0, 0, 0};
  EXPECT_SAYS(error_of(bmp_of({1, 1, 32, 3, torn, {}, {1, 2, 3, 4}})), "a colour mask of it is");
  EXPECT_SAYS(error_of(bmp_of({1, 1, 32, 3, Buffer(12), {}, {1, 2, 3, 4}})), "colour mask");
}

// OS/2's header has palette entries of three bytes.
TEST(Bmp, OldHeadersAreRead) {
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 1, 0, {}, {3, 2, 1, 6, 5, 4}, {0x40, 0, 0, 0}, 12}))),
            (Buffer{1, 2, 3, 4, 5, 6}));
  Buffer palette(768);
  for (size_t i = 0; i < 768; ++i) palette[i] = static_cast<uint8_t>(i / 3);
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 8, 0, {}, palette, {255, 7, 0, 0}, 12}))),
            (Buffer{255, 255, 255, 7, 7, 7}));
}

TEST(Bmp, ColoursBehindThePaletteAreBlack) {
  EXPECT_EQ(pixels_of(decode(bmp_of({2, 1, 8, 0, {}, {3, 2, 1, 0}, {0, 200, 0, 0}}))),
            (Buffer{1, 2, 3, 0, 0, 0}));
}

TEST(Bmp, KindsThatAreNotDecodedAreNamed) {
  const auto error = [](uint32_t bits, uint32_t compression) {
    return error_of(bmp_of({2, 1, bits, compression, {}, Buffer(1024), Buffer(64)}));
  };
  EXPECT_SAYS(error(8, 1), "this BMP is run-length coded (RLE)");
  EXPECT_SAYS(error(4, 2), "this BMP is run-length coded (RLE)");
  EXPECT_SAYS(error(24, 4), "has a JPEG inside");
  EXPECT_SAYS(error(24, 5), "has a PNG inside");
  EXPECT_SAYS(error(24, 11), "unknown compression 11");
  EXPECT_SAYS(error(2, 0), "2 bits a pixel");
  Buffer file = bmp();
  file[14] = 41;
  EXPECT_SAYS(error_of(file), "an unknown kind of header, of 41 bytes");
}

TEST(Bmp, HeadersThatCannotBeAreErrors) {
  EXPECT_SAYS(error_of(bmp_of({0, 1, 24, 0, {}, {}, {}})), "0 x 1 pixels");
  EXPECT_SAYS(error_of(bmp_of({0xffffffff, 1, 24, 0, {}, {}, {}})), "its width is -1");
  EXPECT_SAYS(error_of(bmp_of({1, 0x80000000, 24, 0, {}, {}, {}})),
              "1 x 2147483648 pixels, the lim");
  EXPECT_SAYS(error_of(bmp_of({16385, 1, 24, 0, {}, {}, {}})), "16385 x 1 pixels, the limits are");
  EXPECT_SAYS(error_of(bmp_of({1, 1, 8, 0, {}, {}, {0, 0, 0, 0}})), "it has no palette");
  Buffer file = bmp();
  file[10] = 0;
  EXPECT_SAYS(error_of(file), "its pixels begin inside of it");
}

}  // namespace
}  // namespace lightcap::internal
