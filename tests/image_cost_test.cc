// The cost of decoding: time and memory in proportion to the file and its pixels, and memory that
// runs out told apart from damage.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "engine/image/exif.h"
#include "engine/image/image.h"
#include "engine/image/stb.h"
#include "engine/io/limits.h"
#include "engine/runtime/error.h"
#include "tests/forged_jpeg.h"
#include "tests/pictures.h"

namespace lightcap::internal {
namespace {

using namespace testing;

TEST(ImageCost, ProgressiveJpegsOfManyScansAreRefusedByTheLimit) {
  for (const size_t scans : {40u, 200u, 12000u}) {
    EXPECT_SAYS(error_of(forged({0xc2, 8192, 8192, 1}, refinements(scans))),
                "the first 23 scans of this JPEG go over more than 402");
  }
}

// A scan of all coefficients costs five times one of the first, whatever its bytes.
TEST(ImageCost, ScansCountByTheirCoefficients) {
  constexpr ForgedScan kAllAc{"\x01\x3f\x00", 3}, kFewAc{"\x01\x05\x00", 3};
  std::vector<ForgedScan> scans = {kFirstDc, kAllAc, kAllAc, kAllAc, kAllAc};
  EXPECT_EQ(error_of(forged({0xc2, 8192, 8192, 1}, scans)), "");
  scans.push_back(kAllAc);
  EXPECT_SAYS(error_of(forged({0xc2, 8192, 8192, 1}, scans)),
              "the first 6 scans of this JPEG go over more than 402");
  scans.back() = kFewAc;
  EXPECT_EQ(error_of(forged({0xc2, 8192, 8192, 1}, scans)), "");
}

TEST(ImageCost, BaselineJpegsOfManyScansAreRefusedByTheLimit) {
  for (const uint8_t components : {uint8_t{1}, uint8_t{4}}) {
    std::vector<ForgedScan> scans(2, kBaselineScan);
    EXPECT_EQ(error_of(forged({0xc0, 4096, 4096, components}, scans)), "");
    scans.resize(200, kBaselineScan);
    EXPECT_SAYS(error_of(forged({0xc0, 8192, 8192, components}, scans)),
                "the first 3 scans of this JPEG go over more than");
  }
}

// Even each bit of each coefficient in a scan of its own is fine here.
TEST(ImageCost, SmallProgressiveJpegsMayHaveManyScans) {
  const Image image = decode(forged({0xc2, 320, 240, 1}, refinements(2000)));
  EXPECT_EQ(image.width, 320u);
  EXPECT_EQ(image.pixels.get()[0], 128);
}

TEST(ImageCost, TenScansOfTheLargestPictureAreFine) {
  EXPECT_EQ(error_of(forged({0xc2, 8192, 8192, 1}, refinements(9))), "");
}

// Phones take pictures of 108 megapixels.
TEST(ImageCost, PicturesOverTheUsualLimitAreDecodedWhenItIsRaised) {
  const Buffer file = forged({0xc0, 12000, 9000, 1}, {kBaselineScan});
  EXPECT_SAYS(error_of(file), "12000 x 9000 pixels, the limits are 16384 a side and 67108864");
  ImageLimits limits;
  limits.max_pixels = 108'000'000;
  const Image image = decode(file, true, limits);
  EXPECT_EQ(image.width, 12000u);
  EXPECT_EQ(image.height, 9000u);
  EXPECT_EQ(image.pixels.get()[3 * image.width * image.height - 1], 128);
}

// A grey picture whose data go on: the excess is refused at four bytes a pixel, not at sixteen.
TEST(ImageCost, PngsThatUnpackToMoreThanTheirPixelsAreRefused) {
  const Buffer file = png_of(2048, 2048, 8, 0, Buffer(size_t{20} << 20));
  EXPECT_SAYS(error_of(file), "unpacks to far more than its size in pixels needs; the limit");
  EXPECT_EQ(error_of(png_of(2048, 2048, 8, 0, Buffer(size_t{5} << 20))), "");
}

// Empty blocks of fixed codes, ten bits each, cost microseconds and hold nothing.
TEST(ImageCost, PngsWhoseDataAreFarMoreThanTheirPicturesAreRefused) {
  Buffer file = bytes_of("\x89PNG\r\n\x1a\n");
  append_chunk(file, "IHDR", {0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0});
  Buffer data = {0x78, 0x01};
  while (data.size() < 2'000'000) append(data, {0x02, 0x08, 0x20, 0x80, 0x00});
  append(data, {0x03, 0x00});
  append_chunk(file, "IDAT", data);
  append_chunk(file, "IEND", {});
  EXPECT_SAYS(error_of(file), "2000004 bytes of compressed data, the limit for a picture of this");
}

// The memory that decoding may take is computed from the header: no kind of PNG may need more.
TEST(ImageCost, EveryKindOfPngFitsItsLimit) {
  struct Kind {
    uint8_t bits, colour;
    size_t pixel_bits;
  };
  for (const Kind kind : {Kind{1, 0, 1},
                          {2, 0, 2},
                          {4, 0, 4},
                          {8, 0, 8},
                          {16, 0, 16},
                          {8, 2, 24},
                          {16, 2, 48},
                          {1, 3, 1},
                          {2, 3, 2},
                          {4, 3, 4},
                          {8, 3, 8},
                          {8, 4, 16},
                          {16, 4, 32},
                          {8, 6, 32},
                          {16, 6, 64}}) {
    Buffer before;
    if (kind.colour == 3) before = chunk("PLTE", {1, 2, 3});
    for (const uint8_t interlaced : {uint8_t{0}, uint8_t{1}}) {
      for (const uint32_t width : {1u, 3u, 600u}) {
        for (const uint32_t height : {1u, 5u, 600u}) {
          // Zeros are rows without a filter, and more of them than a picture has are let pass.
          const size_t row = kind.pixel_bits * width / 8 + 3;
          const Buffer rows(row * height * (width < 8 ? 2 : 1) + 64);
          EXPECT_EQ(
              error_of(png_of(width, height, kind.bits, kind.colour, rows, before, interlaced)), "")
              << width << " x " << height << ", " << int{kind.bits} << " bits of colour type "
              << int{kind.colour};
        }
      }
    }
  }
}

TEST(ImageCost, EveryKindOfJpegFitsItsLimit) {
  for (const uint8_t components : {uint8_t{1}, uint8_t{3}, uint8_t{4}}) {
    for (const uint32_t side : {1u, 9u, 1000u}) {
      EXPECT_EQ(error_of(forged({0xc0, side, side, components}, {kBaselineScan})), "");
      EXPECT_EQ(error_of(forged({0xc2, side, side, components}, {kFirstDc})), "");
      Buffer file = forged({0xc2, side, side, components}, {kFirstDc});
      file[segment(file, 0xc2) + 11] = 0x44;  // sampling of the first component
      EXPECT_EQ(error_of(file), "");
    }
  }
}

TEST(ImageCost, CompressedTextIsUnpackedToALimitAlone) {
  Buffer text = bytes_of("Raw profile type exif");
  const Buffer packed = zlib(Buffer(limits::kPngText + 1));
  append(text, {0, 0});
  append(text, packed);
  Buffer file = png(3);
  insert(file, 33, chunk("zTXt", text));
  EXPECT_EQ(exif_orientation(file.data(), file.size()), 1);
  EXPECT_EQ(error_of(file), "");
  EXPECT_EQ(stb_unpack({packed.data(), packed.size()}, {limits::kPngText}).bytes, nullptr);
}

// A failure of each single allocation, which stb_image reports as damage or not at all. Returns how
// many there are.
template <class Call>
uint64_t allocations_of(Call&& call) {
  StbLimits memory = {uint64_t{1} << 24, 0};
  while (true) {
    try {
      call(memory);
      return memory.allocations;
    } catch (const std::bad_alloc&) {
      ++memory.allocations;
    }
  }
}

TEST(ImageCost, MemoryThatRunsOutIsNeverDamage) {
  for (const Buffer& file : {jpeg(), forged({0xc2, 64, 64, 3}, {kFirstDc})}) {
    EXPECT_GE(allocations_of([&](const StbLimits& memory) {
                const StbPicture picture = stb_decode_jpeg(file.data(), file.size(), memory);
                EXPECT_NE(picture.pixels, nullptr) << picture.reason;
              }),
              3u);
  }
  const Buffer packed = zlib(Buffer(600'000));
  EXPECT_GE(allocations_of([&](const StbLimits& memory) {
              const StbUnpacked unpacked = stb_unpack({packed.data(), packed.size()}, memory);
              EXPECT_EQ(unpacked.size, 600'000u) << unpacked.reason;
            }),
            4u);
}

// However much is expected, data unpack to what they are.
TEST(ImageCost, ExpectationsChangeNoBytes) {
  Buffer data(300'000);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * i >> 7);
  const Buffer packed = zlib(data);
  for (const size_t expected : {size_t{0}, size_t{1000}, data.size(), size_t{1'000'000}}) {
    const StbUnpacked unpacked =
        stb_unpack({packed.data(), packed.size(), expected}, {.bytes = size_t{1} << 22});
    ASSERT_NE(unpacked.bytes, nullptr) << unpacked.reason;
    EXPECT_EQ(Buffer(unpacked.bytes.get(), unpacked.bytes.get() + unpacked.size), data);
  }
}

TEST(ImageCost, MemoryLimitsAreKept) {
  const Buffer file = jpeg();
  const StbPicture picture = stb_decode_jpeg(file.data(), file.size(), {1000});
  EXPECT_TRUE(picture.over_limit);
  EXPECT_EQ(picture.pixels, nullptr);
  EXPECT_NE(stb_decode_jpeg(file.data(), file.size(), {1 << 20}).pixels, nullptr);
}

TEST(ImageCost, ReasonsOfEarlierFailuresAreNotRepeated) {
  Buffer damaged = jpeg();
  damaged[segment(damaged, 0xc4) + 2] = 0xff;
  const StbPicture first = stb_decode_jpeg(damaged.data(), damaged.size(), {1 << 20});
  EXPECT_NE(first.reason, "");
  const Buffer file = jpeg();
  EXPECT_EQ(stb_decode_jpeg(file.data(), file.size(), {1000}).reason, "");
}

#ifndef LIGHTCAP_SANITIZED
// The address space of the process, bounded.
void bound_memory(size_t more) {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) + more;
  const rlimit limit = {bytes, bytes};
  setrlimit(RLIMIT_AS, &limit);
}

// Exits with 6 if memory ran out, with 1 if the picture was called damaged.
[[noreturn]] void decode_within(const Buffer& file, size_t memory) {
  bound_memory(memory);
  try {
    decode(file);
  } catch (const std::bad_alloc&) {
    _exit(6);
  } catch (const Error&) {
    _exit(1);
  }
  _exit(0);
}

TEST(ImageCost, TooLittleMemoryForAPictureIsBadAlloc) {
  // In a process of its own, where no earlier test has left memory to be used again.
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const Buffer files[] = {forged({0xc0, 4096, 4096, 1}, {kBaselineScan}),
                          forged({0xc2, 4096, 4096, 1}, {kFirstDc}),
                          png_of(4096, 4096, 1, 0, Buffer(4096 * 513)),
                          png_of(4096, 4096, 1, 3, Buffer(4096 * 513), chunk("PLTE", Buffer(6)))};
  for (const Buffer& file : files) {
    for (const size_t megabytes : {1u, 8u, 24u, 48u}) {
      EXPECT_EXIT(decode_within(file, size_t{megabytes} << 20), ::testing::ExitedWithCode(6), "")
          << megabytes << " MB";
    }
  }
}
#endif

}  // namespace
}  // namespace lightcap::internal
