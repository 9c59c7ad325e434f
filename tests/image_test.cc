#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/image/image.h"
#include "engine/io/npy.h"
#include "engine/runtime/error.h"
#include "tests/pictures.h"
#include "tests/temporary_folder.h"

namespace lightcap::internal {
namespace {

using namespace testing;

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
  EXPECT_EQ(levels("P6 2 1 255\n", {0, 1, 127, 128, 254, 255}), (Buffer{0, 1, 127, 128, 254, 255}));
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

TEST(Image, BrandsOfBaseMediaFilesAreNamed) {
  const auto error = [](std::string_view major, std::string_view compatible = "") {
    Buffer file = {0, 0, 0, static_cast<uint8_t>(16 + compatible.size())};
    append(file, bytes_of("ftyp"));
    append(file, bytes_of(major));
    append(file, {0, 0, 0, 0});
    append(file, bytes_of(compatible));
    append(file, Buffer(40));
    return error_of(file);
  };
  EXPECT_SAYS(error("avif"), "this is an AVIF picture;");
  EXPECT_SAYS(error("avis"), "this is an AVIF sequence;");
  for (const char* brand : {"heic", "heix", "heim", "heis"})
    EXPECT_SAYS(error(brand), "this is a HEIC picture;");
  for (const char* brand : {"hevc", "hevx", "hevm", "hevs"})
    EXPECT_SAYS(error(brand), "this is a HEIC sequence;");
  EXPECT_SAYS(error("mif1"), "this is a HEIF picture;");
  EXPECT_SAYS(error("msf1"), "this is a HEIF sequence;");
  EXPECT_SAYS(error("mif1", "mif1avif"), "this is an AVIF picture;");
  EXPECT_SAYS(error("mif1", "mif1heic"), "this is a HEIC picture;");
  EXPECT_SAYS(error("msf1", "hevcmsf1"), "this is a HEIC sequence;");
  EXPECT_SAYS(error("crx "), "a camera's raw picture;");
  for (const char* brand : {"isom", "mp42", "qt  "}) EXPECT_SAYS(error(brand), "this is a video;");
}

TEST(Image, MoreFormatsAreNamed) {
  const auto error = [](std::string_view start) {
    Buffer file = bytes_of(start);
    append(file, Buffer(200));
    return error_of(file);
  };
  using namespace std::string_view_literals;
  EXPECT_SAYS(error("\0\0\0\x0cJXL \r\n"sv), "JPEG XL");
  EXPECT_SAYS(error("\xff\x0a"sv), "JPEG XL");
  EXPECT_SAYS(error("\0\0\0\x0cjP  \r\n"sv), "JPEG 2000");
  EXPECT_SAYS(error("\xff\x4f\xff\x51"sv), "JPEG 2000");
  EXPECT_SAYS(error("II\xbc\x01"sv), "JPEG XR");
  EXPECT_SAYS(error("8BPS\0\1"sv), "Photoshop");
  EXPECT_SAYS(error("II+\0"sv), "BigTIFF");
  EXPECT_SAYS(error("\0\0\1\0\1"sv), "icon");
  EXPECT_SAYS(error("qoif\0"sv), "QOI");
  EXPECT_SAYS(error("\x1a\x45\xdf\xa3"sv), "a video (WebM");
  EXPECT_SAYS(error("RIFF\0\0\0\0AVI LIST"sv), "a video (AVI)");
  EXPECT_SAYS(error("\x76\x2f\x31\x01"sv), "OpenEXR");
  EXPECT_SAYS(error("P7\n\0"sv), "PAM");
  EXPECT_SAYS(error_of(bytes_of("<?xml version='1.0'?>\n<!-- x -->\n<svg>")), "SVG");
  EXPECT_SAYS(error_of(bytes_of("<?xml version='1.0'?>\n<x>")), "XML");
  EXPECT_SAYS(error_of(bytes_of("data:image/png;base64,iVBORw0")), "data URL");
}

// A header of megabytes costs no more than reading it.
TEST(Image, PnmHeadersMayBeLong) {
  Buffer file = bytes_of("P5\n#");
  append(file, Buffer(size_t{1} << 22, 'x'));
  append(file, bytes_of("\n1 1"));
  append(file, Buffer(size_t{1} << 22, ' '));
  append(file, bytes_of("255\n\7"));
  EXPECT_EQ(pixels_of(decode(file)), (Buffer{7, 7, 7}));
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
  const Buffer file = grey_png(1, 1, 8, Buffer(size_t{1} << 24));
  EXPECT_SAYS(error_of(file), "unpacks to far more than its size");
  EXPECT_EQ(error_of(png(3)), "");  // and nothing is left behind
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
  const TemporaryFolder folder;
  const std::string path = folder / "values.npy";
  const std::vector<float> data = {1.5f, -2, 3, 4, 5, 6};
  write_npy(path, data.data(), {2, 3, 1});
  const NpyArray array = read_npy(path);
  EXPECT_EQ(array.data, data);
  EXPECT_EQ(array.dims, (std::vector<size_t>{2, 3, 1}));
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(bytes.size() % 64, 6 * sizeof(float));  // data aligned to 64 bytes
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
}  // namespace lightcap::internal
