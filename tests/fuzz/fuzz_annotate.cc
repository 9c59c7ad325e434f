// Annotated pictures of any size, with boxes, labels and a caption of any bytes: a canvas within
// its bounds, or an error.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cli/annotate.h"
#include "cli/canvas.h"
#include "engine/image/image.h"
#include "tests/fuzz/limits.h"

namespace {

using lightcap::internal::cli::AnnotationLimits;

// Takes values off the input's front; zeros after its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  template <class T>
  T take() {
    T value = {};
    const size_t size = std::min(sizeof value, left());
    std::memcpy(&value, next_, size);
    next_ += size;
    return value;
  }
  // Up to a byte 0, repeated, so that short inputs make long texts; some MiB in all.
  std::string text() {
    const uint16_t times = take<uint16_t>();
    const uint8_t* end = std::find(next_, end_, uint8_t{0});
    const std::string once(next_, end);
    next_ = std::min(end + 1, end_);
    if (end == end_) next_ = end_;
    std::string all;
    for (uint32_t i = 0; i <= times && all.size() + once.size() <= text_left_; ++i) all += once;
    text_left_ -= all.size();
    return all;
  }
  size_t left() const { return static_cast<size_t>(end_ - next_); }

 private:
  const uint8_t* next_;
  const uint8_t* end_;
  size_t text_left_ = size_t{4} << 20;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMaxPixels = size_t{1} << 14;  // what more would add is time
  Input input(data, size);
  const size_t width = 1 + input.take<uint16_t>() % lightcap::internal::ImageLimits::kMaxSide;
  const size_t height =
      1 + input.take<uint16_t>() %
              std::min(lightcap::internal::ImageLimits::kMaxSide, 1 + kMaxPixels / width);
  const std::vector<uint8_t> pixels(3 * width * height, 90);
  const std::string caption = input.text();
  std::vector<std::string> labels;
  std::vector<lightcap_concept> concepts;
  while (input.left() > 0 && concepts.size() < 1024) {
    lightcap_concept found = {};
    for (float& at : found.box) at = input.take<float>();
    found.similarity = input.take<float>();
    concepts.push_back(found);
    labels.push_back(input.text());
  }
  for (size_t i = 0; i < concepts.size(); ++i) concepts[i].label = labels[i].c_str();
  lightcap_result result = {};
  result.struct_size = sizeof result;
  result.caption = caption.c_str();
  result.concepts = concepts.data();
  result.concept_count = concepts.size();

  // The largest canvas is 4096 pixels wide and holds twelve lines; nothing else grows.
  const lightcap::internal::fuzz::InputLimits limits(size, size_t{32} << 20, 16, 2.0);
  const lightcap::internal::cli::Canvas canvas =
      lightcap::internal::cli::annotated({pixels.data(), width, height, 3 * width}, result);
  if (canvas.width() > AnnotationLimits::kLongestSide ||
      canvas.height() > 2 * AnnotationLimits::kLongestSide) {
    __builtin_trap();
  }
  // To compress takes most of the time, and looks at pixels, not at what drew them.
  if (size % 64 != 0 || canvas.width() * canvas.height() > (int64_t{1} << 19)) return 0;
  const std::vector<uint8_t> png = canvas.png();
  const lightcap::internal::Image image =
      lightcap::internal::decode_image(png.data(), png.size(), {}, false, "fuzz");
  if (static_cast<int64_t>(image.width) != canvas.width()) __builtin_trap();
  return 0;
}
