// JPEGs by libjpeg-turbo, with engine/image/turbo.cc in the place of no_turbo.cc; the other tests
// of pictures run with it too.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>

#include "engine/image/image.h"
#include "engine/image/stb.h"
#include "engine/image/turbo.h"
#include "engine/runtime/error.h"
#include "tests/api_session.h"
#include "tests/forged_jpeg.h"
#include "tests/pictures.h"

namespace lightcap::internal::testing {
namespace {

Image decode_for(const Buffer& file, size_t shorter, size_t longer) {
  const ImageUse use = {.shorter_side = shorter, .longer_side = longer};
  return decode_image(file.data(), file.size(), {}, true, "test", use);
}

Buffer by_stb(const Buffer& file) {
  const StbPicture picture = stb_decode_jpeg(file.data(), file.size(), {uint64_t{1} << 30});
  if (picture.pixels == nullptr) return {};
  return {picture.pixels.get(), picture.pixels.get() + 3 * picture.width * picture.height};
}

// Both decoders round samples (1 level), chroma's interpolation (1) and colours (1): of blue, with
// 1.772 of the chroma, 1 + 2 * 1.772 + 1 levels.
TEST(Turbo, PixelsAreThoseOfTheOtherDecoderButForRounding) {
  for (const Buffer& file :
       {jpeg(), jpeg(97, 61), jpeg(16, 16), forged({0xc2, 40, 30, 3}, refinements(1)),
        forged({0xc0, 33, 17, 1}, {kBaselineScan})}) {
    const Buffer pixels = pixels_of(decode(file)), expected = by_stb(file);
    ASSERT_EQ(pixels.size(), expected.size());
    int most = 0;
    for (size_t i = 0; i < pixels.size(); ++i)
      most = std::max(most, std::abs(int{pixels[i]} - int{expected[i]}));
    EXPECT_LE(most, 5);
  }
}

TEST(Turbo, CopiesAreAsSmallAsServes) {
  const Buffer file = jpeg(1600, 1200);
  const struct {
    size_t shorter, longer, width, height;
  } cases[] = {{224, 640, 800, 600},      {224, 800, 800, 600}, {224, 801, 1600, 1200},
               {601, 640, 1600, 1200},    {100, 200, 200, 150}, {1, 1, 200, 150},
               {16384, 16384, 1600, 1200}};
  for (const auto& [shorter, longer, width, height] : cases) {
    const Image image = decode_for(file, shorter, longer);
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
    EXPECT_EQ(image.full_width, 1600u);
    EXPECT_EQ(image.full_height, 1200u);
  }
  // Sides that the divisor does not divide are rounded up.
  const Image odd = decode_for(jpeg(1001, 77), 10, 501);
  EXPECT_EQ(odd.width, 501u);
  EXPECT_EQ(odd.height, 39u);
}

TEST(Turbo, CopiesShowThePicture) {
  Buffer pixels(size_t{3} * 640 * 480);
  for (size_t y = 0; y < 480; ++y) {
    for (size_t x = 0; x < 640; ++x) {
      const size_t at = 3 * (640 * y + x);
      pixels[at] = static_cast<uint8_t>(x * 255 / 639);
      pixels[at + 1] = static_cast<uint8_t>(y * 255 / 479);
      pixels[at + 2] = 128;
    }
  }
  const Image image = decode_for(jpeg_of(pixels, 640, 480, 100), 1, 160);
  ASSERT_EQ(image.width, 160u);
  for (size_t y = 0; y < 120; ++y) {
    for (size_t x = 0; x < 160; ++x) {
      const uint8_t* pixel = image.pixels.get() + 3 * (160 * y + x);
      EXPECT_NEAR(pixel[0], (4 * static_cast<double>(x) + 1.5) * 255 / 639, 5);
      EXPECT_NEAR(pixel[1], (4 * static_cast<double>(y) + 1.5) * 255 / 479, 5);
      EXPECT_NEAR(pixel[2], 128, 5);
    }
  }
}

// A file that is refused with it is refused without it, and the other way round.
TEST(Turbo, DamagedFilesAreWhatTheyAreWithout) {
  std::minstd_rand random(7);
  size_t accepted = 0, refused = 0;
  for (const Buffer& whole : {jpeg(), jpeg(70, 50), forged({0xc2, 40, 30, 3}, refinements(3))}) {
    for (int i = 0; i < 700; ++i) {
      Buffer damaged = whole;
      damaged[2 + random() % (damaged.size() - 2)] = static_cast<uint8_t>(random());
      if (i % 4 == 0) damaged[2 + random() % (damaged.size() - 2)] = static_cast<uint8_t>(random());
      const bool is_fine = error_of(damaged).empty();
      ++(is_fine ? accepted : refused);
      EXPECT_FALSE(is_fine && by_stb(damaged).empty());
    }
  }
  EXPECT_GT(accepted, 100u);
  EXPECT_GT(refused, 100u);
}

// Inks, and pictures whose blocks of all components are too many for libjpeg.
TEST(Turbo, LeavesWhatItCannotDecode) {
  const auto left = [](const Buffer& file) {
    const ImageLimits limits;
    const std::string name = "test";
    const EncodedImage encoded = {file.data(), file.size(), limits, name, {}};
    return turbo_decode(encoded, file.data(), file.size()).pixels == nullptr;
  };
  EXPECT_FALSE(left(jpeg()));
  const Buffer inks = forged({0xc0, 32, 32, 4}, {kBaselineScan});
  EXPECT_TRUE(left(inks));
  EXPECT_EQ(pixels_of(decode(inks)), by_stb(inks));
  Buffer cut = jpeg();
  cut.resize(cut.size() / 2);
  EXPECT_TRUE(left(cut));
}

// Boxes are in pixels of the file's picture, upright.
TEST(Turbo, CaptionsAndBoxesAreThoseOfTheWholePicture) {
  const Image scene = read_image(LIGHTCAP_SCENE, {}, true);
  constexpr size_t kTimes = 5;
  const size_t width = scene.width * kTimes, height = scene.height * kTimes;
  Buffer pixels(3 * width * height);
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < width; ++x) {
      const uint8_t* from = scene.pixels.get() + 3 * (scene.width * (y / kTimes) + x / kTimes);
      std::copy_n(from, 3, pixels.begin() + static_cast<std::ptrdiff_t>(3 * (width * y + x)));
    }
  }
  const Buffer file = jpeg_of(pixels, static_cast<int>(width), static_cast<int>(height), 95);
  lightcap_model* model = nullptr;
  ASSERT_EQ(lightcap_model_open(LIGHTCAP_DEMO_MODEL, nullptr, &model), LIGHTCAP_OK);
  const ModelHandle owned(model);
  const SessionHandle session = open_session(model, 1), other = open_session(model, 1);
  lightcap_result whole = LIGHTCAP_RESULT_INIT, smaller = LIGHTCAP_RESULT_INIT;
  ASSERT_EQ(
      lightcap_caption_pixels(session.get(), pixels.data(), width, height, 0, nullptr, &whole),
      LIGHTCAP_OK);
  ASSERT_EQ(lightcap_caption_image(other.get(), file.data(), file.size(), nullptr, &smaller),
            LIGHTCAP_OK);
  EXPECT_STREQ(smaller.caption, whole.caption);
  ASSERT_EQ(smaller.concept_count, whole.concept_count);
  const auto sides_differ = [&](const lightcap_concept& one, const lightcap_concept& two) {
    float most = 0;
    for (size_t side = 0; side < 4; ++side)
      most = std::max(most, std::abs(one.box[side] - two.box[side]));
    return most;
  };
  for (size_t i = 0; i < whole.concept_count; ++i) {
    // Two of about the same score may have changed places.
    float nearest = static_cast<float>(width);
    for (size_t j = 0; j < smaller.concept_count; ++j)
      nearest = std::min(nearest, sides_differ(whole.concepts[i], smaller.concepts[j]));
    // A hundredth of the picture; in pixels of the copy they would be half of what they should.
    EXPECT_LT(nearest, static_cast<float>(width) / 100);
    EXPECT_LE(smaller.concepts[i].box[2], static_cast<float>(width));
    EXPECT_LE(smaller.concepts[i].box[3], static_cast<float>(height));
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
