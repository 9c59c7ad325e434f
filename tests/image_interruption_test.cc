// Decoding that is ended from outside.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/image/image.h"
#include "engine/runtime/error.h"
#include "engine/runtime/interruption.h"
#include "tests/answers.h"
#include "tests/forged_jpeg.h"
#include "tests/pictures.h"
#include "tests/sanitized.h"

namespace lightcap::internal {
namespace {

using namespace testing;

// A host that may end what is decoded.
struct Host {
  std::atomic<int> flag{0};
  Interruption interruption;

  Host() { expect(); }
  void expect() { interruption.expect({&flag, std::nullopt}); }
};

// The pixels, or the words of the error.
std::string outcome_of(const Buffer& file, const Interruption* interruption) {
  try {
    const Image image = decode_image(file.data(), file.size(), {}, true, "the image",
                                     {.interruption = interruption});
    const Buffer pixels = pixels_of(image);
    return std::to_string(image.width) + ":" + std::string(pixels.begin(), pixels.end());
  } catch (const Error& error) {
    return error.what();
  }
}

// In quarters of a turn: EXIF's orientation 6.
Buffer turned(Buffer file) {
  insert(file, 2,
         jpeg_segment(0xe1, bytes_of(std::string_view("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"
                                                      "\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
                                                      32))));
  return file;
}

// Bytes that any kind of PNG takes for rows, with each of the filters, in one block of deflate.
Buffer noisy_png(uint32_t width, uint32_t height, uint8_t bits, uint8_t interlaced) {
  const size_t bytes = size_t{width} * height * 3 * bits / 8;
  Buffer rows(bytes + bytes / 100);
  std::minstd_rand random(3);
  for (uint8_t& byte : rows) byte = static_cast<uint8_t>(random() >> 9) % 5;
  return png_of(width, height, bits, 2, rows, {}, interlaced);
}

// One of 100,000 blocks that hold nothing, and of no pixels.
Buffer png_of_empty_blocks() {
  Buffer file = bytes_of("\x89PNG\r\n\x1a\n"), data = {0x78, 0x01};
  append_chunk(file, "IHDR", {0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0});
  while (data.size() < 125'000) append(data, {0x02, 0x08, 0x20, 0x80, 0x00});
  append(data, {0x03, 0x00});
  append_chunk(file, "IDAT", data);
  append_chunk(file, "IEND", {});
  return file;
}

Buffer bmp_of(uint16_t width, uint16_t height) {
  Buffer file = bmp();
  for (const auto& [at, side] : {std::pair{18, width}, {22, height}}) {
    file[static_cast<size_t>(at)] = static_cast<uint8_t>(side);
    file[static_cast<size_t>(at) + 1] = static_cast<uint8_t>(side >> 8);
  }
  file.resize(54 + size_t{3} * width * height);
  return file;
}

TEST(ImageInterruption, ThatDoesNotComeChangesNothing) {
  const Host host;
  std::minstd_rand random(4);
  for (const Buffer& whole :
       {jpeg(), turned(jpeg(70, 50)), forged({0xc2, 40, 30, 3}, refinements(3)), png(3),
        noisy_png(9, 7, 16, 1), bmp(), ppm()}) {
    EXPECT_EQ(outcome_of(whole, &host.interruption), outcome_of(whole, nullptr));
    for (int i = 0; i < 200; ++i) {
      Buffer damaged = whole;
      damaged[2 + random() % (damaged.size() - 2)] = static_cast<uint8_t>(random());
      if (i % 3 == 0) damaged.resize(2 + random() % (damaged.size() - 2));
      EXPECT_EQ(outcome_of(damaged, &host.interruption), outcome_of(damaged, nullptr));
    }
  }
}

TEST(ImageInterruption, EndsEveryFormat) {
  Host host;
  host.flag = 1;
  for (const Buffer& file : {jpeg(), png(3), bmp(), ppm()})
    EXPECT_EQ(outcome_of(file, &host.interruption), "cancelled by the host");
}

struct Picture {
  const char* name;
  Buffer file;
};

// Large ones: the longer decoding takes, the later the last moment may be. A JPEG without data
// takes the time of all stages but reading these. Sanitizers make smaller ones last as long.
std::vector<Picture> pictures() {
  constexpr int kPart = testing::kSanitized ? 4 : 1;
  constexpr size_t kPnmSide = 2000 / kPart;
  const std::string side = std::to_string(kPnmSide);
  Buffer pnm = ppm("P6 " + side + " " + side + " 65535\n");
  pnm.resize(pnm.size() + 6 * kPnmSide * kPnmSide);
  return {
      {"JPEG without data", turned(forged({0xc0, 2592 / kPart, 1944 / kPart, 3}, {kBaselineScan}))},
      {"JPEG", turned(jpeg(1600 / kPart, 1200 / kPart))},
      {"PNG", noisy_png(1600 / kPart, 1000 / kPart, 8, 0)},
      {"interlaced PNG of 16 bits", noisy_png(800 / kPart, 800 / kPart, 16, 1)},
      {"PNG of empty blocks", png_of_empty_blocks()},
      {"BMP", bmp_of(4000 / kPart, 2000 / kPart)},
      {"PNM of 16 bits", std::move(pnm)}};
}

// True if a picture was decoded to its end, or to its damage; false if it was ended.
bool was_decoded(const Buffer& file, const Interruption& interruption) {
  try {
    decode_image(file.data(), file.size(), {}, true, "the image", {.interruption = &interruption});
  } catch (const Error& error) {
    return error.code() != ErrorCode::kCancelled;
  }
  return true;
}

TEST(ImageInterruption, IsAnsweredWithinFiveMillisecondsWhateverTheFormat) {
  constexpr double kLimit = 5;
  Host host;
  unsigned seed = 20;
  for (const Picture& picture : pictures()) {
    const Buffer& file = picture.file;
    const auto decode = [&] { return was_decoded(file, host.interruption); };
    double whole = std::numeric_limits<double>::max();
    for (int i = 0; i < (testing::kSanitized ? 1 : 3); ++i) {
      const double start = milliseconds(CLOCK_MONOTONIC);
      EXPECT_TRUE(decode());
      whole = std::min(whole, milliseconds(CLOCK_MONOTONIC) - start);
    }
    constexpr size_t kMoments = testing::kSanitized ? 1 : 8;
    const Answers answers = answers_at_random_moments(
        kMoments, whole, kLimit, seed++, decode, [&] { host.flag = 1; },
        [&] {
          host.flag = 0;
          host.expect();
        });
    ASSERT_EQ(answers.own.size(), kMoments) << picture.name;
    answers.print(picture.name + (", decoded in " + std::to_string(std::lround(whole)) + " ms"));
    if (!testing::kSanitized) {
      EXPECT_LT(answers.own.back(), kLimit) << picture.name;
    }
  }
}

}  // namespace
}  // namespace lightcap::internal
