#include "weights_converter/quantizer/synthetic.h"

#include <array>
#include <new>

namespace lightcap::internal {
namespace {

constexpr size_t kWidth = 640, kHeight = 480, kRectangles = 24;

// A generator of Knuth's; its high bits are good enough for pictures.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) { below(1); }

  uint32_t below(uint32_t limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>((state_ >> 33) % limit);
  }
  std::array<int, 3> color() {
    return {static_cast<int>(below(256)), static_cast<int>(below(256)),
            static_cast<int>(below(256))};
  }

 private:
  uint64_t state_;
};

uint8_t to_byte(int value) {
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

Image draw(size_t index) {
  Random random(index);
  Image image;
  image.width = kWidth, image.height = kHeight;
  image.pixels.reset(static_cast<uint8_t*>(std::malloc(kWidth * kHeight * 3)));
  if (image.pixels == nullptr) throw std::bad_alloc();
  uint8_t* const pixels = image.pixels.get();
  const std::array<int, 3> top = random.color(), bottom = random.color();
  for (size_t y = 0; y < kHeight; ++y) {
    const int place = static_cast<int>(y);
    for (size_t x = 0; x < kWidth; ++x) {
      const int noise = static_cast<int>(random.below(9)) - 4;
      for (size_t c = 0; c < 3; ++c) {
        const int color = top[c] + (bottom[c] - top[c]) * place / static_cast<int>(kHeight);
        pixels[(y * kWidth + x) * 3 + c] = to_byte(color + noise);
      }
    }
  }
  for (size_t i = 0; i < kRectangles; ++i) {
    const size_t left = random.below(kWidth), above = random.below(kHeight);
    const size_t right = std::min<size_t>(kWidth, left + 8 + random.below(kWidth / 3));
    const size_t below = std::min<size_t>(kHeight, above + 8 + random.below(kHeight / 3));
    const std::array<int, 3> color = random.color();
    for (size_t y = above; y < below; ++y) {
      for (size_t x = left; x < right; ++x) {
        for (size_t c = 0; c < 3; ++c) {
          uint8_t& pixel = pixels[(y * kWidth + x) * 3 + c];
          pixel = to_byte((3 * color[c] + pixel) / 4);
        }
      }
    }
  }
  return image;
}

}  // namespace

PictureSet synthetic_pictures(size_t count) { return {count, draw}; }

}  // namespace lightcap::internal
