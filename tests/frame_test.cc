// Pictures in the layouts of cameras: each against the same picture as RGB.
#include "engine/image/frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/allocations.h"
#include "tests/api_session.h"

namespace lightcap::internal::testing {
namespace {

bool error_has(const std::string& text) {
  return std::string(lightcap_last_error()).find(text) != std::string::npos;
}

struct Rgb {
  size_t width = 0, height = 0;
  std::vector<uint8_t> pixels;

  const uint8_t* at(size_t x, size_t y) const { return &pixels[3 * (y * width + x)]; }
};

Rgb noise(size_t width, size_t height, bool is_grey = false) {
  std::minstd_rand random(7);
  Rgb picture = {width, height, std::vector<uint8_t>(3 * width * height)};
  for (size_t i = 0; i < picture.pixels.size(); ++i) {
    picture.pixels[i] =
        is_grey && i % 3 != 0 ? picture.pixels[i - 1] : static_cast<uint8_t>(random() >> 8);
  }
  return picture;
}

// The picture as EXIF's orientation says, by the code that turns decoded files.
Rgb turned(const Rgb& picture, int orientation) {
  Image image;
  image.width = picture.width;
  image.height = picture.height;
  image.pixels.reset(static_cast<uint8_t*>(std::malloc(picture.pixels.size())));
  std::memcpy(image.pixels.get(), picture.pixels.data(), picture.pixels.size());
  const Image result = upright(std::move(image), orientation);
  const uint8_t* pixels = result.pixels.get();
  return {result.width, result.height, {pixels, pixels + picture.pixels.size()}};
}

Rgb rows_of(const Frame& frame) {
  Rgb picture = {frame.width(), frame.height(), {}};
  std::vector<uint8_t> scratch(3 * frame.width());
  for (size_t y = 0; y < frame.height(); ++y) {
    const uint8_t* row = frame.row(y, scratch.data());
    picture.pixels.insert(picture.pixels.end(), row, row + scratch.size());
  }
  return picture;
}

// A frame with its memory, which ends with the frame's last byte: what reads beyond it is seen by
// AddressSanitizer.
struct Stored {
  std::array<std::vector<uint8_t>, 3> planes;
  lightcap_frame frame = LIGHTCAP_FRAME_INIT;

  uint8_t* make_plane(size_t i, size_t width, size_t height, size_t row_bytes, size_t pixel_bytes,
                      size_t value_bytes) {
    planes[i].assign((height - 1) * row_bytes + (width - 1) * pixel_bytes + value_bytes, 0xcd);
    frame.plane[i] = planes[i].data();
    frame.row_bytes[i] = row_bytes;
    frame.pixel_bytes[i] = pixel_bytes;
    return planes[i].data();
  }
};

struct Order {
  int format;
  size_t bytes;
  std::array<size_t, 3> places;  // of red, green and blue
};
constexpr Order kOrders[] = {{LIGHTCAP_PIXELS_RGB, 3, {0, 1, 2}},
                             {LIGHTCAP_PIXELS_BGR, 3, {2, 1, 0}},
                             {LIGHTCAP_PIXELS_RGBA, 4, {0, 1, 2}},
                             {LIGHTCAP_PIXELS_BGRA, 4, {2, 1, 0}},
                             {LIGHTCAP_PIXELS_GREY, 1, {0, 0, 0}}};

Stored stored_as(const Order& order, const Rgb& picture, size_t wider, size_t longer) {
  Stored stored;
  const size_t pixel = order.bytes + wider;
  const size_t row = picture.width * pixel + longer;
  uint8_t* to = stored.make_plane(0, picture.width, picture.height, row, pixel, order.bytes);
  for (size_t y = 0; y < picture.height; ++y) {
    for (size_t x = 0; x < picture.width; ++x) {
      for (size_t c = 0; c < 3; ++c)
        to[y * row + x * pixel + order.places[c]] = picture.at(x, y)[c];
    }
  }
  stored.frame.format = order.format;
  stored.frame.width = picture.width;
  stored.frame.height = picture.height;
  return stored;
}

// Y, U and V of a picture, without gaps.
struct Yuv {
  size_t width = 0, height = 0;
  std::array<std::vector<uint8_t>, 3> planes;

  size_t half_width() const { return (width + 1) / 2; }
  size_t half_height() const { return (height + 1) / 2; }
};

Yuv yuv_noise(size_t width, size_t height) {
  std::minstd_rand random(11);
  Yuv yuv = {width, height, {}};
  for (size_t i = 0; i < 3; ++i) {
    yuv.planes[i].resize(i == 0 ? width * height : yuv.half_width() * yuv.half_height());
    for (uint8_t& value : yuv.planes[i]) value = static_cast<uint8_t>(random() >> 8);
  }
  return yuv;
}

enum class YuvLayout { kI420, kNv12, kNv21, kAndroid };
constexpr YuvLayout kYuvLayouts[] = {YuvLayout::kI420, YuvLayout::kNv12, YuvLayout::kNv21,
                                     YuvLayout::kAndroid};

Stored stored_as(YuvLayout layout, const Yuv& yuv, size_t longer) {
  Stored stored;
  const size_t width = yuv.width, height = yuv.height;
  uint8_t* y = stored.make_plane(0, width, height, width + longer, 1, 1);
  for (size_t i = 0; i < height; ++i)
    std::copy_n(&yuv.planes[0][i * width], width, y + i * (width + longer));
  const size_t half_width = yuv.half_width(), half_height = yuv.half_height();
  const bool by_turns = layout == YuvLayout::kNv12 || layout == YuvLayout::kNv21;
  const size_t step = layout == YuvLayout::kI420 ? 1 : layout == YuvLayout::kAndroid ? 3 : 2;
  const size_t row = half_width * step + longer;
  for (size_t plane = 1; plane < 3; ++plane) {
    if (plane == 1 || !by_turns)
      stored.make_plane(plane, half_width, half_height, row, step, by_turns ? 2 : 1);
    const size_t first = layout == YuvLayout::kNv21 ? 2 - plane : plane - 1;
    uint8_t* to = by_turns ? stored.planes[1].data() + first : stored.planes[plane].data();
    for (size_t i = 0; i < half_height; ++i) {
      for (size_t k = 0; k < half_width; ++k)
        to[i * row + k * step] = yuv.planes[plane][i * half_width + k];
    }
  }
  stored.frame.format = layout == YuvLayout::kNv12   ? LIGHTCAP_PIXELS_NV12
                        : layout == YuvLayout::kNv21 ? LIGHTCAP_PIXELS_NV21
                                                     : LIGHTCAP_PIXELS_YUV420;
  stored.frame.width = width;
  stored.frame.height = height;
  return stored;
}

// The standards' equations, in double precision.
struct Standard {
  double red, blue;
  bool full_range;

  double black() const { return full_range ? 0 : 16; }
  double y_scale() const { return full_range ? 1 : 255.0 / 219; }
  double c_scale() const { return full_range ? 1 : 255.0 / 224; }

  std::array<double, 3> to_rgb(double y, double u, double v) const {
    const double luma = (y - black()) * y_scale();
    const double pb = (u - 128) * c_scale() * 2 * (1 - blue);
    const double pr = (v - 128) * c_scale() * 2 * (1 - red);
    const double r = luma + pr, b = luma + pb;
    return {r, (luma - red * r - blue * b) / (1 - red - blue), b};
  }
  std::array<double, 3> to_yuv(const uint8_t* rgb) const {
    const double luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2];
    return {luma / y_scale() + black(), (rgb[2] - luma) / (2 * (1 - blue)) / c_scale() + 128,
            (rgb[0] - luma) / (2 * (1 - red)) / c_scale() + 128};
  }
};

struct Matrix3 {
  bool bt709, full_range;
  Standard standard() const {
    return bt709 ? Standard{0.2126, 0.0722, full_range} : Standard{0.299, 0.114, full_range};
  }
};
constexpr Matrix3 kMatrices[] = {{false, false}, {false, true}, {true, false}, {true, true}};

class Frames : public ::testing::Test {
 protected:
  // Captions the frame, which must allocate nothing.
  Outcome caption(const lightcap_frame& frame) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    const size_t before = allocations();
    const lightcap_status status = lightcap_caption_frame(session_.get(), &frame, nullptr, &result);
    EXPECT_EQ(allocations(), before);
    return outcome_of(status, result);
  }
  Outcome caption(const Rgb& picture) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    const lightcap_status status = lightcap_caption_pixels(
        session_.get(), picture.pixels.data(), picture.width, picture.height, 0, nullptr, &result);
    return outcome_of(status, result);
  }

  ModelHandle model_ = open_small_model();
  SessionHandle session_ = open_session(model_.get(), 2);
};

TEST_F(Frames, ColorsInAnyOrderAreTheSamePicture) {
  for (const Order& order : kOrders) {
    const Rgb picture = noise(97, 61, order.bytes == 1);
    const Outcome expected = caption(picture);
    ASSERT_EQ(expected.status, LIGHTCAP_OK) << lightcap_last_error();
    for (const size_t wider : {size_t{0}, size_t{1}, size_t{5}}) {
      for (const size_t longer : {size_t{0}, size_t{13}}) {
        Stored stored = stored_as(order, picture, wider, longer);
        EXPECT_EQ(caption(stored.frame), expected) << order.format << " +" << wider;
        if (wider != 0 || longer != 0) continue;
        stored.frame.row_bytes[0] = stored.frame.pixel_bytes[0] = 0;
        EXPECT_EQ(caption(stored.frame), expected) << "by default";
      }
    }
  }
}

TEST_F(Frames, NothingThatACaptionMayBeAskedForAllocates) {
  const Rgb picture = noise(97, 61);
  const Stored stored = stored_as(kOrders[1], picture, 0, 0);
  lightcap_cancel* flag = nullptr;
  ASSERT_EQ(lightcap_cancel_open(&flag), LIGHTCAP_OK);
  lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  options.beams = 5;
  options.cancel = flag;
  options.deadline_ms = 3600 * 1000;
  size_t calls = 0;
  options.on_token_context = &calls;
  options.on_token = [](void* context, uint32_t, const char*) {
    ++*static_cast<size_t*>(context);
    return 0;
  };
  const auto count_stage = [](void* context, const char*, int) {
    ++*static_cast<size_t*>(context);
  };
  lightcap_session_set_stage(session_.get(), count_stage, &calls);
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  lightcap_features features = LIGHTCAP_FEATURES_INIT;
  const size_t before = allocations();
  EXPECT_EQ(lightcap_caption_frame(session_.get(), &stored.frame, &options, &result), LIGHTCAP_OK);
  EXPECT_EQ(lightcap_session_features(session_.get(), &features), LIGHTCAP_OK);
  EXPECT_EQ(allocations(), before);
  EXPECT_GT(calls, 12u);
  EXPECT_EQ(result.hypothesis_count, 5u);
  lightcap_cancel_close(flag);
}

TEST_F(Frames, OrientationsTurnAsForFiles) {
  for (const auto& [width, height] : {std::pair<size_t, size_t>{33, 20}, {20, 33}, {1, 7}}) {
    for (int orientation = 0; orientation <= 8; ++orientation) {
      for (const Order& order : kOrders) {
        const Rgb picture = noise(width, height, order.bytes == 1);
        Stored stored = stored_as(order, picture, 2, 3);
        stored.frame.orientation = orientation;
        EXPECT_EQ(caption(stored.frame), caption(turned(picture, orientation)))
            << order.format << " " << orientation;
      }
    }
  }
}

Rgb converted(const Yuv& yuv, const Standard& standard) {
  Rgb picture = {yuv.width, yuv.height, {}};
  for (size_t y = 0; y < yuv.height; ++y) {
    for (size_t x = 0; x < yuv.width; ++x) {
      const size_t half = y / 2 * yuv.half_width() + x / 2;
      for (const double value : standard.to_rgb(yuv.planes[0][y * yuv.width + x],
                                                yuv.planes[1][half], yuv.planes[2][half]))
        picture.pixels.push_back(static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0))));
    }
  }
  return picture;
}

FrameLayout layout_of(const Yuv& yuv, const Matrix3& matrix, int orientation = 1) {
  const size_t half = yuv.half_width();
  return {.format = PixelFormat::kYuv420,
          .width = yuv.width,
          .height = yuv.height,
          .planes = {yuv.planes[0].data(), yuv.planes[1].data(), yuv.planes[2].data()},
          .row_bytes = {yuv.width, half, half},
          .pixel_bytes = {1, 1, 1},
          .orientation = orientation,
          .full_range = matrix.full_range,
          .bt709 = matrix.bt709};
}

TEST_F(Frames, YuvIsConvertedAsTheStandardsSay) {
  for (const auto& [width, height] : {std::pair<size_t, size_t>{64, 64}, {31, 17}, {1, 1}}) {
    const Yuv yuv = yuv_noise(width, height);
    for (const Matrix3& matrix : kMatrices) {
      const Rgb exact = converted(yuv, matrix.standard());
      for (int orientation = 1; orientation <= 8; ++orientation) {
        const Rgb expected = turned(exact, orientation);
        const Rgb found = rows_of(Frame(layout_of(yuv, matrix, orientation)));
        ASSERT_EQ(found.width, expected.width);
        ASSERT_EQ(found.pixels.size(), expected.pixels.size());
        size_t unequal = 0;
        for (size_t i = 0; i < found.pixels.size(); ++i) {
          const int off = std::abs(found.pixels[i] - expected.pixels[i]);
          ASSERT_LE(off, 1) << i;
          unequal += off == 0 ? 0 : 1;
        }
        // Coefficients are off by 2^-17, sums by 0.006: so many are rounded to the other side.
        EXPECT_LE(unequal, found.pixels.size() / 50 + 2);
      }
    }
  }
}

// A picture of 2 x 2 blocks loses by 4:2:0 what rounding Y, U and V to 8 bits loses.
TEST_F(Frames, YuvIsTheSamePictureAsRgbWithinItsRounding) {
  const size_t width = 31, height = 21;
  const Rgb blocks = noise((width + 1) / 2, (height + 1) / 2);
  for (const Matrix3& matrix : kMatrices) {
    const Standard standard = matrix.standard();
    Rgb picture = {width, height, {}};
    Yuv yuv = {width, height, {}};
    for (std::vector<uint8_t>& plane : yuv.planes) plane.resize(width * height);
    for (size_t y = 0; y < height; ++y) {
      for (size_t x = 0; x < width; ++x) {
        const uint8_t* rgb = blocks.at(x / 2, y / 2);
        picture.pixels.insert(picture.pixels.end(), rgb, rgb + 3);
        const std::array<double, 3> exact = standard.to_yuv(rgb);
        const size_t half = y / 2 * yuv.half_width() + x / 2;
        for (size_t i = 0; i < 3; ++i)
          yuv.planes[i][i == 0 ? y * width + x : half] =
              static_cast<uint8_t>(std::lround(exact[i]));
      }
    }
    const Rgb found = rows_of(Frame(layout_of(yuv, matrix)));
    const double y_error = 0.5 * standard.y_scale(), c_error = 0.5 * standard.c_scale();
    const double red = 2 * (1 - standard.red), blue = 2 * (1 - standard.blue);
    const double green =
        (red * standard.red + blue * standard.blue) / (1 - standard.red - standard.blue);
    const std::array<double, 3> most = {y_error + red * c_error, y_error + green * c_error,
                                        y_error + blue * c_error};
    for (size_t i = 0; i < found.pixels.size(); ++i)
      ASSERT_LE(std::abs(found.pixels[i] - picture.pixels[i]), most[i % 3] + 0.5 + 0.01) << i;
  }
}

TEST_F(Frames, EveryLayoutOfYuvIsTheSamePicture) {
  for (const auto& [width, height] : {std::pair<size_t, size_t>{98, 62}, {97, 61}}) {
    const Yuv yuv = yuv_noise(width, height);
    for (const Matrix3& matrix : kMatrices) {
      const Outcome expected = caption(rows_of(Frame(layout_of(yuv, matrix))));
      ASSERT_EQ(expected.status, LIGHTCAP_OK);
      for (const YuvLayout layout : kYuvLayouts) {
        for (const size_t longer : {size_t{0}, size_t{3}}) {
          Stored stored = stored_as(layout, yuv, longer);
          stored.frame.bt709 = matrix.bt709;
          stored.frame.full_range = matrix.full_range;
          EXPECT_EQ(caption(stored.frame), expected) << static_cast<int>(layout);
        }
      }
    }
  }
}

TEST_F(Frames, YuvHasDefaultDistancesToo) {
  const Yuv yuv = yuv_noise(21, 13);
  for (const YuvLayout layout : {YuvLayout::kI420, YuvLayout::kNv12, YuvLayout::kNv21}) {
    Stored stored = stored_as(layout, yuv, 0);
    const Outcome expected = caption(stored.frame);
    for (size_t i = 0; i < 3; ++i) stored.frame.row_bytes[i] = stored.frame.pixel_bytes[i] = 0;
    EXPECT_EQ(caption(stored.frame), expected);
  }
}

// The two ways in which rows are asked for beside the usual one: two at a time, and several times.
TEST_F(Frames, SidesThatAreHalvedOrShrunkMostlyDownAreTheSameToo) {
  const size_t side = 2 * small_model()->config().detector.image_size;
  for (const auto& [width, height] : {std::pair<size_t, size_t>{side, side}, {70, 1500}}) {
    const Rgb picture = noise(width, height);
    const Stored stored = stored_as(kOrders[3], picture, 0, 0);
    EXPECT_EQ(caption(stored.frame), caption(picture));
  }
}

TEST_F(Frames, NumbersThatContradictEachOtherAreRefusedByName) {
  const Rgb picture = noise(20, 10);
  const auto refused = [&](auto change, lightcap_status status, const std::string& words) {
    Stored stored = stored_as(kOrders[0], picture, 0, 0);
    change(stored.frame);
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    EXPECT_EQ(lightcap_caption_frame(session_.get(), &stored.frame, nullptr, &result), status)
        << words;
    EXPECT_TRUE(error_has(words)) << words << ": " << lightcap_last_error();
  };
  using F = lightcap_frame;
  constexpr lightcap_status kUsage = LIGHTCAP_ERROR_USAGE;
  refused([](F& f) { f.format = 8; }, kUsage, "frame.format is 8");
  refused([](F& f) { f.format = -1; }, kUsage, "frame.format is -1");
  refused([](F& f) { f.orientation = 9; }, kUsage, "frame.orientation is 9");
  refused([](F& f) { f.orientation = -1; }, kUsage, "frame.orientation is -1");
  refused([](F& f) { f.plane[0] = nullptr; }, kUsage, "frame.plane[0] is NULL");
  refused([](F& f) { f.row_bytes[0] = 59; }, kUsage, "frame.row_bytes[0] is 59, expected 60");
  refused([](F& f) { f.row_bytes[0] = SIZE_MAX; }, kUsage, "frame.row_bytes[0] is");
  refused([](F& f) { f.pixel_bytes[0] = 2; }, kUsage, "frame.pixel_bytes[0] is 2, expected 3");
  refused([](F& f) { f.pixel_bytes[0] = SIZE_MAX / 2; }, kUsage, "frame.pixel_bytes[0] is");
  refused([](F& f) { f.format = LIGHTCAP_PIXELS_RGBA; }, kUsage, "frame.pixel_bytes[0] is 3");
  refused([](F& f) { f.format = LIGHTCAP_PIXELS_NV12; }, kUsage, "frame.plane[1] is NULL");
  refused([](F& f) { f.struct_size = 7; }, kUsage, "lightcap_frame.struct_size is 7");
  refused([](F& f) { f.width = 0; }, LIGHTCAP_ERROR_INPUT, "the image is 0 x 10 pixels");
  refused([](F& f) { f.height = 16385; }, LIGHTCAP_ERROR_INPUT, "20 x 16385");
  refused([](F& f) { f.width = SIZE_MAX; }, LIGHTCAP_ERROR_INPUT, "expected sides of 1 to 16384");
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(lightcap_caption_frame(session_.get(), nullptr, nullptr, &result), kUsage);
  EXPECT_EQ(caption(stored_as(kOrders[0], picture, 0, 0).frame), caption(picture));
}

}  // namespace
}  // namespace lightcap::internal::testing
