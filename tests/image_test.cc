#include "engine/image/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/image/exif.h"
#include "engine/io/crc32.h"
#include "engine/io/npy.h"
#include "engine/runtime/error.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace lightcap {
namespace {

using Buffer = std::vector<uint8_t>;

Buffer bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

// 5 x 3 pixels that all differ.
constexpr int kWidth = 5, kHeight = 3;
Buffer drawn(int channels) {
  Buffer pixels;
  for (int i = 0; i < kWidth * kHeight * channels; ++i)
    pixels.push_back(static_cast<uint8_t>(i * 11 + 3));
  return pixels;
}

void append(void* context, void* data, int size) {
  auto& buffer = *static_cast<Buffer*>(context);
  buffer.insert(buffer.end(), static_cast<uint8_t*>(data), static_cast<uint8_t*>(data) + size);
}

Buffer png(int channels) {
  Buffer file;
  stbi_write_png_to_func(append, &file, kWidth, kHeight, channels, drawn(channels).data(),
                         kWidth * channels);
  return file;
}

Buffer jpeg(int width = 40, int height = 24) {
  Buffer file, pixels(static_cast<size_t>(3 * width * height));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i / 7);
  stbi_write_jpg_to_func(append, &file, width, height, 3, pixels.data(), 90);
  return file;
}

Buffer ppm(const std::string& header = "P6\n5 3\n255\n") {
  Buffer file = bytes_of(header);
  const Buffer pixels = drawn(3);
  file.insert(file.end(), pixels.begin(), pixels.end());
  return file;
}

void append_chunk(Buffer& file, std::string_view name, const Buffer& data) {
  const auto number = [&file](uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
      file.push_back(static_cast<uint8_t>(value >> shift));
  };
  number(static_cast<uint32_t>(data.size()));
  const size_t begin = file.size();
  file.insert(file.end(), name.begin(), name.end());
  file.insert(file.end(), data.begin(), data.end());
  number(crc32(file.data() + begin, file.size() - begin));
}

// A grey PNG of `bits` a pixel; `rows` as they are compressed, each with its filter byte.
Buffer grey_png(uint8_t width, uint8_t height, uint8_t bits, Buffer rows) {
  Buffer file = bytes_of("\x89PNG\r\n\x1a\n");
  append_chunk(file, "IHDR", {0, 0, 0, width, 0, 0, 0, height, bits, 0, 0, 0, 0});
  int size = 0;
  uint8_t* packed = stbi_zlib_compress(rows.data(), static_cast<int>(rows.size()), &size, 5);
  append_chunk(file, "IDAT", {packed, packed + size});
  std::free(packed);
  append_chunk(file, "IEND", {});
  return file;
}

Buffer bmp() {
  Buffer file;
  stbi_write_bmp_to_func(append, &file, kWidth, kHeight, 3, drawn(3).data());
  return file;
}

Image decode(const Buffer& file, bool apply_exif = true, const ImageLimits& limits = {}) {
  return decode_image(file.data(), file.size(), limits, apply_exif, "test");
}

// The error's words, or "" where it decodes.
std::string error_of(const Buffer& file, const ImageLimits& limits = {}) {
  try {
    decode(file, true, limits);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInput);
    EXPECT_EQ(std::string(error.what()).find("test: "), 0u) << error.what();
    return error.what();
  }
}

#define EXPECT_SAYS(error, words) EXPECT_NE((error).find(words), std::string::npos) << (error)

Buffer pixels_of(const Image& image) {
  return {image.pixels.get(), image.pixels.get() + 3 * image.width * image.height};
}

TEST(Image, DecodesWhatItShould) {
  const Buffer rgb = drawn(3);
  EXPECT_EQ(pixels_of(decode(png(3))), rgb);
  EXPECT_EQ(pixels_of(decode(ppm())), rgb);
  EXPECT_EQ(pixels_of(decode(bmp())), rgb);
  const Image photo = decode(jpeg());
  EXPECT_EQ(photo.width, 40u);
  EXPECT_EQ(photo.height, 24u);
}

TEST(Image, GreyIsExpandedAndAlphaDropped) {
  const Buffer grey = drawn(1), rgba = drawn(4);
  const Buffer from_grey = pixels_of(decode(png(1))), from_rgba = pixels_of(decode(png(4)));
  for (size_t i = 0; i < grey.size(); ++i) {
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(from_grey[3 * i + c], grey[i]);
      EXPECT_EQ(from_rgba[3 * i + c], rgba[4 * i + c]);
    }
  }
}

TEST(Image, SixteenBitsBecomeTheHighByte) {
  const Image image = decode(grey_png(3, 1, 16, {0, 0x00, 0xff, 0x80, 0x7f, 0xff, 0x00}));
  EXPECT_EQ(pixels_of(image), (Buffer{0, 0, 0, 128, 128, 128, 255, 255, 255}));
}

// A negative height says that the first row is the upper one.
TEST(Image, BmpFromTopToBottom) {
  Buffer file = bmp();
  constexpr size_t kHeightAt = 22, kPixelsAt = 54, kRow = 16;
  for (size_t i = 0; i < 4; ++i) file[kHeightAt + i] = static_cast<uint8_t>(-kHeight >> (8 * i));
  std::swap_ranges(file.begin() + kPixelsAt, file.begin() + kPixelsAt + kRow,
                   file.begin() + kPixelsAt + 2 * kRow);
  EXPECT_EQ(pixels_of(decode(file)), drawn(3));
}

// Pillow's values: scaled by the largest one and rounded.
TEST(Image, PnmIsScaledByItsLargestValue) {
  const auto levels = [](std::string_view header, const Buffer& values) {
    Buffer file = bytes_of(header);
    file.insert(file.end(), values.begin(), values.end());
    return pixels_of(decode(file));
  };
  EXPECT_EQ(levels("P6 1 1 15\n", {0, 7, 15}), (Buffer{0, 119, 255}));
  EXPECT_EQ(levels("P5\n# two\n2 1\r\n#\n100 ", {33, 100}), (Buffer{84, 84, 84, 255, 255, 255}));
  EXPECT_EQ(levels("P6 1 1 100\n", {50, 101, 255}), (Buffer{128, 255, 255}));  // beyond it: white
  EXPECT_EQ(levels("P6 1 1 65535\n", {0x12, 0x34, 0xff, 0xff, 0, 1}), (Buffer{18, 255, 0}));
  EXPECT_EQ(levels("P5 1 1 1000\n", {0x01, 0xf4}), (Buffer{128, 128, 128}));
}

TEST(Image, PnmHeadersAreChecked) {
  for (const char* header :
       {"P6", "P6 ", "P6 5", "P6 5 3", "P6 5 3 ", "P6 5 3 255", "P6 -5 3 255\n", "P6 5x3 255\n",
        "P6 0 3 255\n", "P6 5 3 0\n", "P6 5 3 65536\n", "P6 # no end"}) {
    EXPECT_SAYS(error_of(bytes_of(header)), "PNM");
  }
}

TEST(Image, OtherFormatsAreNamed) {
  EXPECT_SAYS(error_of({}), "empty");
  EXPECT_SAYS(error_of(bytes_of("GIF89a....")), "a GIF; accepted are JPEG, PNG, BMP");
  EXPECT_SAYS(error_of(bytes_of("RIFF....WEBPVP8 ")), "WebP");
  EXPECT_SAYS(error_of(bytes_of("....ftypheic....")), "HEIC");
  EXPECT_SAYS(error_of(bytes_of("....ftypavif....")), "AVIF");
  EXPECT_SAYS(error_of(bytes_of("%PDF-1.7")), "PDF");
  EXPECT_SAYS(error_of(bytes_of("<!DOCTYPE html>")), "HTML");
  EXPECT_SAYS(error_of(bytes_of("version https://git-lfs.github.com/spec/v1")), "Git LFS");
  EXPECT_SAYS(error_of(bytes_of(std::string_view("II*\0....", 8))), "TIFF");
  EXPECT_SAYS(error_of(bytes_of("P3\n1 1\n255\n1 2 3")), "PNM in plain text");
  EXPECT_SAYS(error_of(bytes_of("\xef\xbb\xbf\r\n <html>")), "HTML");
  EXPECT_SAYS(error_of(bytes_of("\n<svg>")), "SVG");
  EXPECT_SAYS(error_of(bytes_of("{\"error\": 404}")), "this is text, not a picture");
  EXPECT_SAYS(error_of(bytes_of("  ")), "this is text, not a picture");
  EXPECT_SAYS(error_of({1, 2, 3, 4}), "not a picture in a known format");
}

TEST(Image, TruncatedAnywhereIsAnError) {
  for (const Buffer& file : {png(3), jpeg(), bmp(), ppm(), ppm("P5 9 5 255\n")}) {
    ASSERT_EQ(error_of(file), "");
    // A row of a BMP ends with a byte of padding that is not missed.
    const size_t needed = file.size() - (file[0] == 'B' ? 1 : 0);
    for (size_t size = 0; size < needed; ++size) {
      const Buffer cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
      ASSERT_NE(error_of(cut), "") << size << " of " << file.size();
    }
  }
}

TEST(Image, TruncationIsNamed) {
  Buffer file = png(3);
  file.resize(file.size() - 5);
  EXPECT_SAYS(error_of(file), "cut short");
  file = jpeg();
  file.resize(file.size() / 2);
  EXPECT_SAYS(error_of(file), "cut short");
}

TEST(Image, PngChecksumsAreChecked) {
  const Buffer file = png(3);
  for (size_t i = 8; i < file.size(); ++i) {
    Buffer damaged = file;
    damaged[i] = static_cast<uint8_t>(damaged[i] ^ 0x10);
    ASSERT_NE(error_of(damaged), "") << "byte " << i;
  }
}

// One pixel that unpacks to 64 MiB.
TEST(Image, BombsAreRefused) {
  const Buffer file = grey_png(1, 1, 8, Buffer(size_t{1} << 26));
  EXPECT_SAYS(error_of(file), "unpacks to far more than its size");
  EXPECT_EQ(error_of(png(3)), "");  // and nothing is left behind
}

// Where a JPEG's first segment of a kind begins.
size_t segment(const Buffer& file, uint8_t kind) {
  size_t at = 2;
  while (file[at + 1] != kind) at += 2 + (size_t{file[at + 2]} << 8 | file[at + 3]);
  return at;
}

TEST(Image, JpegsMayHaveFilling) {
  Buffer file = jpeg();
  const Buffer pixels = pixels_of(decode(file));
  const Buffer filling = {0xff, 0xff, 0xff};
  file.insert(file.begin() + static_cast<std::ptrdiff_t>(segment(file, 0xdb)), filling.begin(),
              filling.end());
  EXPECT_EQ(pixels_of(decode(file)), pixels);
  file.push_back('x');
  EXPECT_EQ(pixels_of(decode(file)), pixels);
}

// More codes than a table holds, in the segment or behind its end.
TEST(Image, ForgedHuffmanTablesAreRefused) {
  const Buffer file = jpeg();
  const size_t table = segment(file, 0xc4);
  for (size_t i = 0; i < 16; ++i) {
    Buffer damaged = file;
    damaged[table + 5 + i] = 0xff;
    EXPECT_SAYS(error_of(damaged), "Huffman table that cannot be");
    damaged = file;
    damaged[table + 2] = 0, damaged[table + 3] = static_cast<uint8_t>(3 + i);
    EXPECT_SAYS(error_of(damaged), "Huffman table that cannot be");
  }
}

// Whatever memory held before, a JPEG that uses tables which it lacks gives the same.
TEST(Image, MissingTablesAreNoChance) {
  for (const uint8_t kind : {uint8_t{0xc4}, uint8_t{0xdb}}) {
    Buffer file = jpeg();
    const size_t at = segment(file, kind);
    file[at + 1] = 0xfe;  // a comment
    std::string first;
    for (const uint8_t filling : {uint8_t{0}, uint8_t{0xff}, uint8_t{0x55}}) {
      std::vector<Buffer> blocks;  // freed before the decoder asks for the like
      for (const size_t bytes : {18000u, 18360u, 18400u, 18500u, 20000u})
        blocks.emplace_back(bytes, filling);
      blocks.clear();
      std::string outcome;
      try {
        const Buffer pixels = pixels_of(decode(file));
        outcome.assign(pixels.begin(), pixels.end());
      } catch (const Error& error) {
        outcome = error.what();
      }
      if (filling == 0) first = outcome;
      EXPECT_EQ(outcome, first) << int{filling};
    }
  }
}

TEST(Image, RareJpegsAreNamed) {
  for (const int kind : {0xc3, 0xc5, 0xc7, 0xc9, 0xcf}) {
    Buffer file = jpeg();
    file[segment(file, 0xc0) + 1] = static_cast<uint8_t>(kind);
    EXPECT_SAYS(error_of(file), "lossless, hierarchical or arithmetic-coded");
  }
}

// Bytes flipped in a JPEG may decode to something; they must not crash.
TEST(Image, DamagedJpegsAreSurvived) {
  const Buffer file = jpeg();
  for (size_t i = 2; i < file.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      Buffer damaged = file;
      damaged[i] = static_cast<uint8_t>(damaged[i] ^ flip);
      error_of(damaged);
    }
  }
}

TEST(Image, LimitsAreDecidedBeforeDecoding) {
  ImageLimits limits;
  limits.max_pixels = 14;
  EXPECT_SAYS(error_of(png(3), limits), "5 x 3 pixels, the limits are 16384 a side and 14 in all");
  limits = {};
  limits.max_bytes = 20;
  EXPECT_SAYS(error_of(png(3), limits), "the limit is 20");
  // A header that promises too much, and no data.
  EXPECT_SAYS(error_of(ppm("P6\n16385 1\n255\n")), "16385 x 1 pixels, the limits are");
  EXPECT_SAYS(error_of(ppm("P6\n16000 16000\n255\n")), "the limits are");
  EXPECT_SAYS(error_of(ppm("P6\n4000000000 4000000000\n255\n")), "the limits are");
  Buffer file = bmp();
  file[18] = 0x00, file[19] = 0x3e, file[22] = 0x00, file[23] = 0x3e;  // 15872 x 15872
  EXPECT_SAYS(error_of(file), "the limits are");
}

// ---- EXIF ----

// A TIFF block with an orientation entry, byte order `order`.
Buffer tiff(char order, uint16_t orientation, uint16_t type = 3, uint32_t directory = 8) {
  Buffer block;
  const auto number = [&](uint32_t value, int size) {
    for (int i = 0; i < size; ++i) {
      const int shift = 8 * (order == 'M' ? size - 1 - i : i);
      block.push_back(static_cast<uint8_t>(value >> shift));
    }
  };
  block = {static_cast<uint8_t>(order), static_cast<uint8_t>(order)};
  number(42, 2);
  number(directory, 4);
  number(2, 2);  // entries
  for (const uint16_t tag : {uint16_t{0x010f}, uint16_t{0x0112}}) {
    number(tag, 2);
    number(type, 2);
    number(1, 4);
    number(orientation, 2);
    number(0, 2);
  }
  return block;
}

Buffer jpeg_with_exif(const Buffer& block) {
  Buffer file = jpeg();
  Buffer segment = {0xff, 0xe1, 0, 0, 'E', 'x', 'i', 'f', 0, 0};
  segment.insert(segment.end(), block.begin(), block.end());
  segment[2] = static_cast<uint8_t>((segment.size() - 2) >> 8);
  segment[3] = static_cast<uint8_t>(segment.size() - 2);
  file.insert(file.begin() + 2, segment.begin(), segment.end());
  return file;
}

Buffer png_with_exif(const Buffer& block) {
  Buffer chunk;
  append_chunk(chunk, "eXIf", block);
  Buffer file = png(3);
  file.insert(file.begin() + 33, chunk.begin(), chunk.end());  // after IHDR
  return file;
}

int orientation_of(const Buffer& file) { return exif_orientation(file.data(), file.size()); }

TEST(Exif, OrientationIsFound) {
  for (uint16_t orientation = 1; orientation <= 8; ++orientation) {
    for (const char order : {'I', 'M'}) {
      EXPECT_EQ(orientation_of(jpeg_with_exif(tiff(order, orientation))), orientation);
      EXPECT_EQ(orientation_of(png_with_exif(tiff(order, orientation))), orientation);
    }
  }
  EXPECT_EQ(orientation_of(jpeg()), 1);
  EXPECT_EQ(orientation_of(png(3)), 1);
  EXPECT_EQ(orientation_of(ppm()), 1);
}

TEST(Exif, NonsenseIsUpright) {
  EXPECT_EQ(orientation_of(jpeg_with_exif(tiff('I', 0))), 1);
  EXPECT_EQ(orientation_of(jpeg_with_exif(tiff('I', 9))), 1);
  EXPECT_EQ(orientation_of(jpeg_with_exif(tiff('I', 6, 4))), 1);  // no SHORT
  EXPECT_EQ(orientation_of(jpeg_with_exif(tiff('I', 6, 3, 0xfffffff0))),
            1);  // a directory far outside
  EXPECT_EQ(orientation_of(jpeg_with_exif(tiff('X', 6))), 1);
  EXPECT_EQ(orientation_of(jpeg_with_exif({})), 1);
}

TEST(Exif, TruncatedAndDamagedBlocksAreSurvived) {
  const Buffer file = jpeg_with_exif(tiff('M', 6));
  for (size_t size = 0; size < 60; ++size) exif_orientation(file.data(), size);
  for (size_t i = 0; i < 60; ++i) {
    for (int flip = 1; flip < 256; flip *= 2) {
      Buffer damaged = file;
      damaged[i] ^= static_cast<uint8_t>(flip);
      const int orientation = orientation_of(damaged);
      EXPECT_TRUE(orientation >= 1 && orientation <= 8);
    }
  }
}

// Where the first stored row and column lie in the upright picture, by the EXIF specification:
// 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom,
// 8 left bottom.
TEST(Exif, PicturesAreTurnedUpright) {
  const Image stored = decode(png(3));
  const auto pixel = [](const Image& image, size_t x, size_t y) {
    return Buffer(image.pixels.get() + 3 * (y * image.width + x),
                  image.pixels.get() + 3 * (y * image.width + x) + 3);
  };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image turned = upright(decode(png(3)), orientation);
    const bool sides_swapped = orientation >= 5;
    ASSERT_EQ(turned.width, sides_swapped ? 3u : 5u);
    ASSERT_EQ(turned.height, sides_swapped ? 5u : 3u);
    for (size_t y = 0; y < stored.height; ++y) {
      for (size_t x = 0; x < stored.width; ++x) {
        const size_t right = turned.width - 1, bottom = turned.height - 1;
        const std::pair<size_t, size_t> places[] = {
            {x, y}, {right - x, y}, {right - x, bottom - y}, {x, bottom - y},
            {y, x}, {right - y, x}, {right - y, bottom - x}, {y, bottom - x}};
        const auto [to_x, to_y] = places[orientation - 1];
        EXPECT_EQ(pixel(turned, to_x, to_y), pixel(stored, x, y)) << orientation;
      }
    }
  }
}

TEST(Exif, IsAppliedUnlessIgnored) {
  const Buffer file = jpeg_with_exif(tiff('M', 6));
  EXPECT_EQ(decode(file, true).width, 24u);
  EXPECT_EQ(decode(file, false).width, 40u);
}

// ---- Files ----

TEST(Image, PathsAreNamed) {
  const auto error = [](const std::string& path) -> std::string {
    try {
      read_image(path, {}, true);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_SAYS(error("/no/such.png"), "/no/such.png: cannot open the file: No such file");
  EXPECT_SAYS(error("/"), "not a regular file");
  EXPECT_SAYS(error("/dev/zero"), "not a regular file");
}

TEST(Npy, SurvivesTheRoundTrip) {
  const std::string path = ::testing::TempDir() + "lightcap_test.npy";
  const std::vector<float> data = {1.5f, -2, 3, 4, 5, 6};
  write_npy(path, data.data(), {2, 3, 1});
  const NpyArray array = read_npy(path);
  EXPECT_EQ(array.data, data);
  EXPECT_EQ(array.dims, (std::vector<size_t>{2, 3, 1}));
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(bytes.size() % 64, 6 * sizeof(float));  // data aligned to 64 bytes
  std::filesystem::remove(path);
  EXPECT_THROW(write_npy("/no/such/folder/x.npy", data.data(), {6}), Error);
}

// Real pictures, if there are any: an answer or a clear error, never a crash. PngSuite's files that
// begin with x are corrupt on purpose.
TEST(Image, RealFiles) {
  const char* folder = std::getenv("LIGHTCAP_TEST_DATA");
  if (folder == nullptr) GTEST_SKIP() << "LIGHTCAP_TEST_DATA names no folder with pictures";
  size_t decoded = 0, refused = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(folder) + "/images")) {
    if (!entry.is_regular_file()) continue;
    try {
      const Image image = read_image(entry.path().string(), {}, true);
      EXPECT_FALSE(entry.path().parent_path().filename() == "pngsuite" &&
                   entry.path().filename().string()[0] == 'x')
          << entry.path();
      ++decoded;
    } catch (const Error& error) {
      const std::string parent = entry.path().parent_path().filename().string();
      const bool meant = parent == "coco" || parent == "exif" ||
                         (parent == "pngsuite" && entry.path().filename().string()[0] != 'x');
      EXPECT_FALSE(meant && entry.path().extension() != ".txt" && entry.path().extension() != ".md")
          << error.what();
      ++refused;
    }
  }
  std::printf("%zu pictures decoded, %zu refused\n", decoded, refused);
}

}  // namespace
}  // namespace lightcap
