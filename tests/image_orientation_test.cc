#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/image/exif.h"
#include "engine/image/image.h"
#include "tests/pictures.h"

namespace lightcap::internal {
namespace {

using namespace testing;

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

// ---- XMP and text chunks ----

constexpr std::string_view kXmpPrefix{"http://ns.adobe.com/xap/1.0/\0", 29};

Buffer with_app1(const Buffer& content) {
  Buffer file = jpeg();
  insert(file, 2, jpeg_segment(0xe1, content));
  return file;
}

Buffer jpeg_with_xmp(std::string_view words) {
  Buffer packet = bytes_of(kXmpPrefix);
  append(packet, bytes_of("<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description "));
  append(packet, bytes_of(words));
  return with_app1(packet);
}

TEST(Exif, OrientationInXmpIsFound) {
  EXPECT_EQ(orientation_of(jpeg_with_xmp("tiff:Orientation=\"6\"/>")), 6);
  EXPECT_EQ(orientation_of(jpeg_with_xmp("tiff:Orientation='3'/>")), 3);
  EXPECT_EQ(orientation_of(jpeg_with_xmp("tiff:Orientation = \"8\"/>")), 8);
  EXPECT_EQ(orientation_of(jpeg_with_xmp("><tiff:Orientation>5</tiff:Orientation>")), 5);
  EXPECT_EQ(orientation_of(jpeg_with_xmp("><tiff:Orientation>\n 2 </tiff:Orientation>")), 2);
  for (const char* nonsense : {"tiff:Orientation=\"0\"", "tiff:Orientation=\"9\"",
                               "tiff:Orientation=\"x\"", "tiff:Orientation=", "tiff:Orientation",
                               "tiff:Orientation=\"", "tiff:Orientation>", "Orientation=\"6\""}) {
    EXPECT_EQ(orientation_of(jpeg_with_xmp(nonsense)), 1) << nonsense;
  }
}

TEST(Exif, XmpIsAskedWhereExifHasNoOrientation) {
  const Buffer xmp = jpeg_with_xmp("tiff:Orientation=\"6\"/>");
  Buffer both = xmp;
  const Buffer with_exif = jpeg_with_exif(tiff('M', 3));
  const size_t exif_bytes = segment_bytes(with_exif, 2);
  const Buffer exif(with_exif.begin() + 2,
                    with_exif.begin() + 2 + static_cast<std::ptrdiff_t>(exif_bytes));
  insert(both, 2 + segment_bytes(xmp, 2), exif);
  EXPECT_EQ(orientation_of(both), 3);
  Buffer without_tag = exif;
  for (size_t i = 0; i + 1 < without_tag.size(); ++i) {
    if (without_tag[i] == 0x01 && without_tag[i + 1] == 0x12) without_tag[i + 1] = 0x13;
  }
  both = xmp;
  insert(both, 2, without_tag);
  EXPECT_EQ(orientation_of(both), 6);
}

Buffer png_with(std::string_view type, std::string_view keyword, const Buffer& rest) {
  Buffer content = bytes_of(keyword);
  append(content, rest);
  Buffer file = png(3);
  insert(file, 33, chunk(type, content));
  return file;
}

Buffer joined(Buffer first, const Buffer& second) {
  append(first, second);
  return first;
}

// A name, a length and hexadecimal digits, 36 bytes a line.
Buffer raw_profile(const std::string& name, const Buffer& bytes) {
  std::string text = "\n" + name + "\n      " + std::to_string(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i % 36 == 0) text += '\n';
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return bytes_of(text + "\n");
}

TEST(Exif, OrientationInTextChunksOfAPngIsFound) {
  const Buffer exif = joined(bytes_of({"Exif\0\0", 6}), tiff('I', 6));
  for (const char* name : {"exif", "APP1"}) {
    const std::string keyword = std::string("Raw profile type ") + name;
    const Buffer text = raw_profile(name, exif);
    EXPECT_EQ(orientation_of(png_with("tEXt", keyword, joined({0}, text))), 6);
    EXPECT_EQ(orientation_of(png_with("zTXt", keyword, joined({0, 0}, zlib(text)))), 6);
    EXPECT_EQ(orientation_of(png_with("iTXt", keyword, joined({0, 1, 0, 0, 0}, zlib(text)))), 6);
  }
  EXPECT_EQ(orientation_of(png_with("tEXt", "Raw profile type exif",
                                    joined({0}, raw_profile("exif", tiff('M', 8))))),
            8);
}

TEST(Exif, OrientationInXmpOfAPngIsFound) {
  const Buffer xmp = bytes_of("<rdf:Description tiff:Orientation=\"7\"/>");
  const std::string keyword = "XML:com.adobe.xmp";
  EXPECT_EQ(orientation_of(png_with("iTXt", keyword, joined({0, 0, 0, 0, 0}, xmp))), 7);
  EXPECT_EQ(orientation_of(png_with("iTXt", keyword, joined({0, 0, 0, 'e', 'n', 0, 'x', 0}, xmp))),
            7);
  EXPECT_EQ(orientation_of(png_with("iTXt", keyword, joined({0, 1, 0, 0, 0}, zlib(xmp)))), 7);
  EXPECT_EQ(orientation_of(
                png_with("tEXt", "Raw profile type xmp", joined({0}, raw_profile("xmp", xmp)))),
            7);
  EXPECT_EQ(orientation_of(png_with("tEXt", "Comment", joined({0}, xmp))), 1);
  Buffer both = png_with("iTXt", keyword, joined({0, 0, 0, 0, 0}, xmp));
  insert(both, 33, chunk("eXIf", tiff('M', 3)));
  EXPECT_EQ(orientation_of(both), 3);
}

TEST(Exif, DamagedTextChunksAreSurvived) {
  const Buffer text = raw_profile("exif", tiff('I', 6));
  const Buffer file = png_with("zTXt", "Raw profile type exif", joined({0, 0}, zlib(text)));
  for (size_t i = 33; i < file.size(); ++i) {
    for (int flip = 1; flip < 256; flip *= 2) {
      Buffer damaged = file;
      damaged[i] ^= static_cast<uint8_t>(flip);
      const int orientation = orientation_of(damaged);
      EXPECT_TRUE(orientation >= 1 && orientation <= 8);
    }
    EXPECT_GE(exif_orientation(file.data(), i), 1);
  }
}

TEST(Exif, PicturesAreTurnedAsXmpSays) {
  EXPECT_EQ(decode(jpeg_with_xmp("tiff:Orientation=\"6\"/>")).width, 24u);
}

// The sides of the upright picture where the first stored row and column lie, by EXIF 2.32:
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

}  // namespace
}  // namespace lightcap::internal
