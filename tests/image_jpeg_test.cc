#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/image/image.h"
#include "engine/runtime/error.h"
#include "tests/forged_jpeg.h"
#include "tests/pictures.h"

namespace lightcap::internal {
namespace {

using namespace testing;

TEST(Jpeg, JpegsMayHaveFilling) {
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
TEST(Jpeg, ForgedHuffmanTablesAreRefused) {
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

// A JPEG that uses tables which it lacks decodes to the same, whatever memory held before.
TEST(Jpeg, FramesThatLackTablesDoNotShowEarlierMemory) {
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

TEST(Jpeg, KindsThatAreNotDecodedAreNamed) {
  const auto error_with_frame = [](int kind) {
    Buffer file = jpeg();
    file[segment(file, 0xc0) + 1] = static_cast<uint8_t>(kind);
    return error_of(file);
  };
  for (const int kind : {0xc3, 0xc7}) EXPECT_SAYS(error_with_frame(kind), "JPEG is lossless;");
  for (const int kind : {0xc5, 0xc6}) EXPECT_SAYS(error_with_frame(kind), "JPEG is hierarchical;");
  for (const int kind : {0xc9, 0xca, 0xcd, 0xce})
    EXPECT_SAYS(error_with_frame(kind), "JPEG is arithmetic-coded;");
  for (const int kind : {0xcb, 0xcf})
    EXPECT_SAYS(error_with_frame(kind), "JPEG is lossless and arithmetic-coded;");
  EXPECT_SAYS(error_with_frame(0xf7), "JPEG-LS");

  Buffer file = jpeg();
  const size_t frame = segment(file, 0xc0);
  file[frame + 4] = 12;
  EXPECT_SAYS(error_of(file), "this JPEG has 12 bits a sample; accepted are 8");
  file = jpeg();
  file[frame + 5] = file[frame + 6] = 0;
  EXPECT_SAYS(error_of(file), "gives its height behind its data");
  file = jpeg();
  file[frame + 11] = 0x31, file[frame + 14] = 0x21;
  EXPECT_SAYS(error_of(file), "sampling factors of which one does not divide the largest");
}

TEST(Jpeg, TwoComponentsAreNamed) {
  EXPECT_SAYS(error_of(forged({0xc0, 8, 8, 2}, {})), "this JPEG has 2 components; accepted are");
}

TEST(Jpeg, SidesOverTheLimitAreSaidWithTheLimit) {
  Buffer file = jpeg();
  const size_t frame = segment(file, 0xc0);
  file[frame + 5] = 0x40, file[frame + 6] = 0x01;
  EXPECT_SAYS(error_of(file), "40 x 16385 pixels, the limits are 16384 a side");
  file = jpeg();
  file[frame + 7] = 0xff, file[frame + 8] = 0xff;
  EXPECT_SAYS(error_of(file), "65535 x 24 pixels, the limits are 16384 a side");
}

// As webcams and AVI files hold them; stb_image_write's own tables are the standard ones.
TEST(Jpeg, FramesWithoutHuffmanTablesAreDecodedWithTheStandardOnes) {
  Buffer file = jpeg();
  const Buffer pixels = pixels_of(decode(file));
  const size_t tables = segment(file, 0xc4);
  erase(file, tables, segment_bytes(file, tables));
  EXPECT_EQ(pixels_of(decode(file)), pixels);
}

TEST(Jpeg, EachHuffmanTableMayBeMissing) {
  const Buffer file = jpeg();
  const Buffer pixels = pixels_of(decode(file));
  const size_t tables = segment(file, 0xc4);
  size_t at = tables + 4;
  for (int table = 0; table < 4; ++table) {
    size_t bytes = 17;
    for (size_t i = 1; i <= 16; ++i) bytes += file[at + i];
    Buffer cut = file;
    const size_t length = segment_bytes(file, tables) - 2 - bytes;
    cut[tables + 2] = static_cast<uint8_t>(length >> 8);
    cut[tables + 3] = static_cast<uint8_t>(length);
    erase(cut, at, bytes);
    EXPECT_EQ(pixels_of(decode(cut)), pixels) << table;
    at += bytes;
  }
}

// Tables 2 and 3 and those of progressive scans have no standard.
TEST(Jpeg, OtherTablesThatAreMissingAreErrors) {
  Buffer file = jpeg();
  file[segment(file, 0xda) + 6] = 0x20;
  EXPECT_SAYS(error_of(file), "uses a Huffman table that it does not define");
  file = jpeg();
  file[segment(file, 0xda) + 6] = 0x40;
  EXPECT_SAYS(error_of(file), "Huffman table outside 0 to 3");
  file = forged({0xc2, 16, 16, 1}, {kFirstDc});
  const size_t tables = segment(file, 0xc4);
  erase(file, tables, segment_bytes(file, tables));
  EXPECT_SAYS(error_of(file), "uses a Huffman table that it does not define");
  file = jpeg();
  const size_t quantization = segment(file, 0xdb);
  erase(file, quantization, segment_bytes(file, quantization));
  EXPECT_SAYS(error_of(file), "uses a quantization table that it does not define");
}

TEST(Jpeg, ComponentsWithoutAScanAreErrors) {
  EXPECT_EQ(error_of(forged({0xc0, 16, 16, 3}, {kBaselineScan})), "");
  Buffer file = forged({0xc0, 16, 16, 3}, {});
  EXPECT_SAYS(error_of(file), "no scan of its component 0");
}

// Bytes flipped in a JPEG may decode to something; they must not crash.
TEST(Jpeg, DamagedJpegsAreSurvived) {
  const Buffer file = jpeg();
  for (size_t i = 2; i < file.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      Buffer damaged = file;
      damaged[i] = static_cast<uint8_t>(damaged[i] ^ flip);
      error_of(damaged);
    }
  }
}

}  // namespace
}  // namespace lightcap::internal
