// Annotated pictures: what is drawn where, and that no text, box or size leads out of the canvas.
#include "cli/annotate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cli/canvas.h"
#include "engine/image/image.h"
#include "tests/expect_error.h"

namespace lightcap::internal::cli {
namespace {

constexpr Color kWhite = {255, 255, 255};
constexpr Color kGrey = {90, 90, 90};

// A grey picture and what a model says of it.
struct Scene {
  Scene(size_t width, size_t height) : pixels(3 * width * height, kGrey[0]) {
    image = {pixels.data(), width, height, 3 * width};
  }
  void add(const std::string& label, float x1, float y1, float x2, float y2) {
    labels.push_back(label);
    concepts.push_back({nullptr, 0.5F, 0.5F, {x1, y1, x2, y2}});
  }
  Canvas draw() {
    for (size_t i = 0; i < labels.size(); ++i) concepts[i].label = labels[i].c_str();
    lightcap_result result = {};
    result.struct_size = sizeof result;
    result.caption = caption.c_str();
    result.concepts = concepts.data();
    result.concept_count = concepts.size();
    return annotated(image, result);
  }

  std::vector<uint8_t> pixels;
  ImageView image;
  std::string caption = "a cup";
  std::vector<std::string> labels;
  std::vector<lightcap_concept> concepts;
};

// How many pixels of the rows [top, bottom) differ from `color`.
size_t others(const Canvas& canvas, int64_t left, int64_t top, int64_t right, int64_t bottom,
              const Color& color) {
  size_t count = 0;
  for (int64_t y = top; y < bottom; ++y) {
    for (int64_t x = left; x < right; ++x) count += canvas.at(x, y) != color ? 1U : 0U;
  }
  return count;
}

// The most rows that the texts below a picture of that width may take.
int64_t most_rows_of_text(int64_t width) {
  const int64_t scale = std::max<int64_t>(2, width / 320);
  return scale * (kLineHeight * static_cast<int64_t>(AnnotationLimits::kCaptionLines) + 8);
}

TEST(Annotate, SmallPicturesAreEnlargedAndHaveTheirCaptionBelow) {
  Scene scene(160, 120);
  scene.add("cup", 20, 30, 60, 70);
  const Canvas canvas = scene.draw();
  EXPECT_EQ(canvas.width(), 640);
  EXPECT_EQ(canvas.height(), 480 + 2 * (kLineHeight + 8));
  EXPECT_NE(canvas.at(80, 279), kGrey);  // the box's lower corners
  EXPECT_EQ(canvas.at(80, 279), canvas.at(239, 279));
  EXPECT_EQ(canvas.at(79, 280), kGrey);
  EXPECT_EQ(canvas.at(240, 280), kGrey);
  EXPECT_GT(others(canvas, 0, 480, 640, canvas.height(), kWhite), 50U);
}

TEST(Annotate, LargePicturesAreDrawnSmallerWithTheirBoxes) {
  Scene scene(16384, 64);
  scene.add("cup", 8192, 0, 8200, 64);
  const Canvas canvas = scene.draw();
  EXPECT_EQ(canvas.width(), AnnotationLimits::kLongestSide);
  EXPECT_LE(canvas.height(), 16 + most_rows_of_text(canvas.width()));
  EXPECT_EQ(canvas.at(4000, 15), kGrey);
  EXPECT_NE(canvas.at(2049, 15), kGrey);
}

TEST(Annotate, CaptionsOfAnyLengthMakeACanvasOfBoundedSize) {
  std::string words;
  while (words.size() < 4'000'000) words += "word ";
  const std::string captions[] = {std::string(4'000'000, 'M'), std::string(4'000'000, ' '), words,
                                  std::string(4'000'000, '\xff'), std::string(4'000'000, '\n')};
  for (const std::string& caption : captions) {
    Scene scene(640, 10);
    scene.caption = caption;
    const Canvas canvas = scene.draw();
    EXPECT_EQ(canvas.width(), 640);
    EXPECT_LE(canvas.height(), 10 + most_rows_of_text(640));
    // A word that is longer than a line is broken: nothing is drawn on the margins.
    EXPECT_EQ(others(canvas, 632, 10, 640, canvas.height(), kWhite), 0U);
    EXPECT_EQ(others(canvas, 0, 10, 8, canvas.height(), kWhite), 0U);
  }
}

TEST(Annotate, LabelsOfAnyLengthAreClippedToThePicture) {
  Scene scene(640, 480);
  for (const char c : {'l', 'M', ' ', '\xff'})
    scene.add(std::string(4'000'000, c), 600, 100, 640, 200);
  scene.caption = "";
  const Canvas canvas = scene.draw();
  EXPECT_EQ(canvas.width(), 640);
  EXPECT_EQ(others(canvas, 0, 480, 640, canvas.height(), kWhite), 0U);
}

TEST(Annotate, BoxesThatAreNoNumbersOrFarOutsideStayOnThePicture) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float values[] = {kNan, kInfinity, -kInfinity, 3e9F, -3e9F, 50};
  for (const float a : values) {
    for (const float b : values) {
      Scene scene(320, 240);
      scene.caption = "";
      scene.add("cup", a, b, b, a);
      scene.concepts[0].similarity = a;
      const Canvas canvas = scene.draw();
      EXPECT_EQ(others(canvas, 0, 480, 640, canvas.height(), kWhite), 0U) << a << " " << b;
    }
  }
}

TEST(Annotate, OnlyTheBestBoxesAreDrawn) {
  Scene scene(640, 480);
  for (size_t i = 0; i < 20'000; ++i) scene.add("a long label", 0, 0, 640, 480);
  scene.concepts[AnnotationLimits::kBoxes].box[0] = 300;
  scene.concepts[AnnotationLimits::kBoxes].box[1] = 300;
  EXPECT_EQ(scene.draw().at(300, 400), kGrey);
}

TEST(Annotate, PicturesOfOnePixelAndSliversAreDrawn) {
  for (const auto& [width, height] : {std::pair<size_t, size_t>{1, 1}, {1, 16384}, {16384, 1}}) {
    Scene scene(width, height);
    scene.add("cup", 0, 0, 1, 1);
    const Canvas canvas = scene.draw();
    EXPECT_GE(canvas.width(), 320);
    EXPECT_LE(canvas.width(), AnnotationLimits::kLongestSide);
    EXPECT_LE(canvas.height(), AnnotationLimits::kLongestSide + most_rows_of_text(canvas.width()));
  }
}

TEST(CanvasTest, DropsWhatLiesOutside) {
  constexpr int64_t kFar = int64_t{1} << 40;
  const int64_t places[] = {-kFar, 8, kFar};
  Canvas canvas(8, 8);
  for (const int64_t x : places) {
    for (const int64_t y : places) {
      canvas.set(x, y, kGrey);
      canvas.text(x, y, "text", 1, kGrey);
      canvas.fill(x, y, x + 1, y + 1, kGrey);
    }
  }
  EXPECT_EQ(others(canvas, 0, 0, 8, 8, kWhite), 0U);
  canvas.frame(-kFar, -kFar, kFar, kFar, 1, kGrey);
  canvas.fill(kFar, kFar, -kFar, -kFar, kGrey);
  EXPECT_EQ(canvas.at(7, 7), kWhite);
  canvas.fill(-kFar, -kFar, kFar, kFar, kGrey);
  EXPECT_EQ(others(canvas, 0, 0, 8, 8, kGrey), 0U);
}

TEST(CanvasTest, SizesThatThePngWriterCannotHoldAreRefusedInWords) {
  const auto error = [](int64_t width, int64_t height) {
    return testing::error_of([&] { Canvas(width, height); }, ErrorCode::kOutput);
  };
  testing::expect_has(error(16384, 97500), "16384 x 97500 pixels");
  testing::expect_has(error(int64_t{1} << 40, int64_t{1} << 40), "limited to 2 GiB");
  testing::expect_has(error(0, 5), "0 x 5 pixels");
}

TEST(CanvasTest, PngHoldsThePixels) {
  Canvas canvas(31, 17);
  canvas.text(2, 3, "Q g", 1, kGrey);
  const std::vector<uint8_t> png = canvas.png();
  const Image image = decode_image(png.data(), png.size(), {}, true);
  ASSERT_EQ(image.width, 31U);
  ASSERT_EQ(image.height, 17U);
  for (size_t y = 0; y < 17; ++y) {
    for (size_t x = 0; x < 31; ++x) {
      const Color color = canvas.at(static_cast<int64_t>(x), static_cast<int64_t>(y));
      EXPECT_EQ(image.pixels.get()[3 * (31 * y + x)], color[0]);
    }
  }
  EXPECT_GT(others(canvas, 0, 0, 31, 17, kWhite), 10U);
}

TEST(CanvasTest, MeasuresTextAsItDrawsIt) {
  std::string every;
  for (char c = ' '; c < 127; ++c) every += c;
  for (const char c : every) EXPECT_GE(text_width({&c, 1}), 1) << c;
  EXPECT_EQ(text_width("\x80\n"), text_width("??"));
  EXPECT_EQ(fitting_length(every, text_width(every)), every.size());
  EXPECT_EQ(fitting_length(every, text_width(every) - 1), every.size() - 1);
  EXPECT_EQ(fitting_length("MM", -5), 0U);
}

}  // namespace
}  // namespace lightcap::internal::cli
