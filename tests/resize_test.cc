// The expected checksums are those of what Pillow 13 (bicubic) and OpenCV (bilinear) make of the
// same pictures: equality to the last bit.
#include "models/preprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine/io/crc32.h"
#include "kernels/dispatch.h"

namespace lightcap::internal {
namespace {

// A picture that any language can draw: smooth ramps with a pattern on top.
std::vector<uint8_t> drawn(size_t width, size_t height) {
  std::vector<uint8_t> pixels;
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < width; ++x) {
      for (size_t c = 0; c < 3; ++c) {
        pixels.push_back(static_cast<uint8_t>(x * 7 + y * 13 + c * 29 + (x * y) % 31 * 5));
      }
    }
  }
  return pixels;
}

// Squares of 0 and 255, whose overshoot is clipped after each pass: shows which pass came first.
std::vector<uint8_t> checkered(size_t width, size_t height) {
  std::vector<uint8_t> pixels;
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < width; ++x) {
      for (size_t c = 0; c < 3; ++c) pixels.push_back((x / 3 + y / 2 + c) % 2 == 0 ? 0 : 255);
    }
  }
  return pixels;
}

Runtime runtime(Arena& arena, ThreadPool& pool) { return {best_kernels(), pool, arena}; }

// Runs f(arena, out) as a session does: once to plan, once for real. out is [height][width][3],
// with columns of NaN around that must stay.
template <class F>
std::vector<float> planned(size_t height, size_t width, F&& f) {
  constexpr size_t kMargin = 2;
  const size_t stride = 3 * (width + 2 * kMargin);
  std::vector<float> buffer(height * stride, NAN);
  const Tensor out = {buffer.data() + 3 * kMargin, height, width, 3, stride, 3};
  Arena arena;
  f(arena, out);
  arena.allocate();
  f(arena, out);
  std::vector<float> values;
  for (size_t y = 0; y < height; ++y) {
    for (size_t i = 0; i < stride; ++i) {
      const float value = buffer[y * stride + i];
      const bool margin = i < 3 * kMargin || i >= stride - 3 * kMargin;
      EXPECT_EQ(std::isnan(value), margin);
      if (!margin) values.push_back(value);
    }
  }
  return values;
}

uint32_t crc_of(const std::vector<float>& values, float scale) {
  std::vector<uint8_t> bytes;
  for (const float value : values)
    bytes.push_back(static_cast<uint8_t>(std::lround(value * scale)));
  return crc32(bytes.data(), bytes.size());
}

ValueTable identity_table() {
  ValueTable table;
  for (auto& channel : table) {
    for (size_t p = 0; p < channel.size(); ++p) channel[p] = static_cast<float>(p);
  }
  return table;
}

TEST(Resize, BicubicIsPillows) {
  struct Case {
    size_t width, height, size;
    bool center_crop;
    std::vector<uint8_t> (*draw)(size_t width, size_t height);
    uint32_t crc;
  };
  const Case kCases[] = {
      {640, 480, 224, false, drawn, 0x886e64e6},    {97, 61, 224, false, drawn, 0xdb5fff58},
      {224, 224, 224, false, drawn, 0x5dfdecca},    {1, 1, 32, false, drawn, 0x69a400af},
      {1000, 37, 96, false, drawn, 0x9119b0ba},     {224, 300, 224, false, drawn, 0x19bf5c57},
      {640, 427, 224, true, drawn, 0x60ca642d},     {333, 500, 224, true, drawn, 0x26deb5dd},
      {50, 49, 96, true, drawn, 0x5efaef00},        {2000, 3, 64, true, drawn, 0x1a978906},
      {75, 101, 96, false, checkered, 0x56ead623},  {427, 640, 224, false, checkered, 0xb0f6942b},
      {300, 900, 224, true, checkered, 0x45c18dd8}, {101, 75, 96, false, checkered, 0x7fb26f87},
  };
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Case& c : kCases) {
      const std::vector<uint8_t> pixels = c.draw(c.width, c.height);
      const EncoderGeometry geometry = encoder_geometry(c.width, c.height, c.size, c.center_crop);
      const std::vector<float> values =
          planned(c.size, c.size, [&](Arena& arena, const Tensor& out) {
            encoder_input(runtime(arena, pool),
                          ImageView{pixels.data(), c.width, c.height, 3 * c.width}, geometry,
                          identity_table(), out);
          });
      EXPECT_EQ(crc_of(values, 1), c.crc) << c.width << " x " << c.height << " to " << c.size;
    }
  }
}

TEST(Resize, LetterboxIsUltralytics) {
  struct Case {
    size_t width, height, size, padded_width, padded_height, left, top;
    uint32_t crc;
  };
  constexpr Case kCases[] = {
      {640, 480, 640, 640, 480, 0, 0, 0x5fa1e192},   {641, 480, 640, 640, 480, 0, 0, 0x2a03086c},
      {1280, 960, 640, 640, 480, 0, 0, 0x707d37bb},  {97, 61, 128, 128, 96, 0, 8, 0xee16d709},
      {500, 375, 640, 640, 480, 0, 0, 0x3b575275},   {1, 1, 32, 32, 32, 0, 0, 0x69a400af},
      {1000, 37, 96, 96, 32, 0, 14, 0x3be60721},     {333, 500, 256, 192, 256, 11, 0, 0xb7569b02},
      {3000, 2000, 320, 320, 224, 0, 5, 0x14bab89f},
  };
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Case& c : kCases) {
      const std::vector<uint8_t> pixels = drawn(c.width, c.height);
      const LetterboxGeometry geometry = letterbox_geometry(c.width, c.height, c.size);
      EXPECT_EQ(geometry.width, c.padded_width);
      EXPECT_EQ(geometry.height, c.padded_height);
      EXPECT_EQ(geometry.left, c.left);
      EXPECT_EQ(geometry.top, c.top);
      const std::vector<float> values =
          planned(c.padded_height, c.padded_width, [&](Arena& arena, const Tensor& out) {
            detector_input(runtime(arena, pool),
                           ImageView{pixels.data(), c.width, c.height, 3 * c.width}, geometry,
                           c.size, out);
          });
      EXPECT_EQ(crc_of(values, 255), c.crc) << c.width << " x " << c.height << " to " << c.size;
    }
  }
}

// Rows of a picture may lie further apart than its pixels need.
TEST(Resize, RowBytesAreRespected) {
  const size_t width = 31, height = 17, row_bytes = 3 * width + 5;
  const std::vector<uint8_t> dense = drawn(width, height);
  std::vector<uint8_t> spread(height * row_bytes, 0xee);
  for (size_t y = 0; y < height; ++y) {
    std::copy_n(dense.data() + y * 3 * width, 3 * width, spread.data() + y * row_bytes);
  }
  ThreadPool pool(1);
  const auto both = [&](const ImageView& image) {
    std::vector<float> values = planned(64, 64, [&](Arena& arena, const Tensor& out) {
      encoder_input(runtime(arena, pool), image, encoder_geometry(width, height, 64, false),
                    identity_table(), out);
    });
    const LetterboxGeometry letterbox = letterbox_geometry(width, height, 96);
    const std::vector<float> boxed =
        planned(letterbox.height, letterbox.width, [&](Arena& arena, const Tensor& out) {
          detector_input(runtime(arena, pool), image, letterbox, 96, out);
        });
    values.insert(values.end(), boxed.begin(), boxed.end());
    return values;
  };
  EXPECT_EQ(both({dense.data(), width, height, 3 * width}),
            both({spread.data(), width, height, row_bytes}));
}

Box middle_of(const EncoderGeometry& geometry) {
  const auto size = static_cast<float>(geometry.size);
  return {size / 4, size / 4, size * 3 / 4, size * 3 / 4, 0.5f};
}

TEST(Coordinates, ABoxOfTheEncodersSquareComesBackFromTheImage) {
  for (const bool center_crop : {false, true}) {
    const EncoderGeometry geometry = encoder_geometry(640, 480, 224, center_crop);
    const Box box = middle_of(geometry);
    const Box back = to_encoder_pixels(geometry.from_image.invert(box), geometry);
    EXPECT_NEAR(back.x1, box.x1, 1e-3f);
    EXPECT_NEAR(back.y1, box.y1, 1e-3f);
    EXPECT_NEAR(back.x2, box.x2, 1e-3f);
    EXPECT_NEAR(back.y2, box.y2, 1e-3f);
    EXPECT_EQ(back.score, box.score);
  }
}

TEST(Coordinates, ABoxBesideTheCroppedSquareIsTheWholeSquare) {
  const EncoderGeometry geometry = encoder_geometry(400, 100, 96, true);
  const Box placed = to_encoder_pixels({0, 0, 100, 100, 0.25f}, geometry);
  EXPECT_EQ(placed.x1, 0);
  EXPECT_EQ(placed.y1, 0);
  EXPECT_EQ(placed.x2, 96);
  EXPECT_EQ(placed.y2, 96);
  EXPECT_EQ(placed.score, 0.25f);
}

// 97 x 61 in a letterbox of 128 x 96, as above: 8 rows of padding lie above the picture.
TEST(Coordinates, TheWholeLetterboxIsTheWholeImage) {
  const LetterboxGeometry geometry = letterbox_geometry(97, 61, 128);
  const Box all = to_image_pixels({0, 0, 128, 96, 1}, geometry);
  EXPECT_EQ(all.x1, 0);
  EXPECT_EQ(all.y1, 0);
  EXPECT_EQ(all.x2, 97);
  EXPECT_EQ(all.y2, 61);
  const Box part = to_image_pixels({64, 8, 128, 48, 1}, geometry);
  EXPECT_NEAR(part.x1, 48.5f, 1e-3f);
  EXPECT_EQ(part.y1, 0);
  EXPECT_NEAR(part.y2, 40 * 97 / 128.0f, 1e-3f);
}

// The largest sides there are, up and down: memory was planned for them without knowing them.
TEST(Resize, ExtremeShapesStayInsideThePlan) {
  ThreadPool pool(2);
  for (const bool wide : {false, true}) {
    const size_t width = wide ? ImageLimits::kMaxSide : 2;
    const size_t height = wide ? 2 : ImageLimits::kMaxSide;
    const std::vector<uint8_t> pixels(3 * width * height, 200);
    const ImageView image = {pixels.data(), width, height, 3 * width};
    for (const bool center_crop : {false, true}) {
      const std::vector<float> values = planned(96, 96, [&](Arena& arena, const Tensor& out) {
        encoder_input(runtime(arena, pool), image, encoder_geometry(width, height, 96, center_crop),
                      identity_table(), out);
      });
      for (const float value : values) ASSERT_EQ(value, 200.0f);
    }
    const LetterboxGeometry geometry = letterbox_geometry(width, height, 128);
    planned(geometry.height, geometry.width, [&](Arena& arena, const Tensor& out) {
      detector_input(runtime(arena, pool), image, geometry, 128, out);
    });
  }
}

}  // namespace
}  // namespace lightcap::internal
