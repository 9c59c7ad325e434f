#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/image/decoders.h"

namespace lightcap::internal {
namespace {

// The next decimal number of a PNM header, after white space and comments; at most 10^8.
uint32_t pnm_number(const EncodedImage& file, size_t& at) {
  const uint8_t* data = file.data;
  const size_t size = file.size;
  const auto is_space = [](uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  bool comment = false;
  for (; at < size && (comment || is_space(data[at]) || data[at] == '#'); ++at) {
    comment = (comment || data[at] == '#') && data[at] != '\n' && data[at] != '\r';
  }
  const size_t begin = at;
  uint32_t number = 0;
  for (; at < size && data[at] >= '0' && data[at] <= '9'; ++at)
    number = std::min(number * 10 + (data[at] - uint32_t{'0'}), uint32_t{100'000'000});
  if (at == begin || at == size || !(is_space(data[at]) || data[at] == '#'))
    file.refuse("the PNM's header is damaged at byte " + std::to_string(at));
  return number;
}

}  // namespace

// Binary PNM, "P5" (grey) or "P6": three numbers, one white space, then values of one byte, or of
// two, the higher first, where the third number, the largest value, is above 255.
Image decode_pnm(const EncodedImage& file) {
  const uint8_t* const data = file.data;
  const size_t size = file.size;
  const size_t channels = data[1] == '5' ? 1 : 3;
  size_t at = 2;
  const size_t width = pnm_number(file, at);
  const size_t height = pnm_number(file, at);
  const uint32_t largest = pnm_number(file, at);
  ++at;
  if (width == 0 || height == 0 || largest == 0 || largest > 65535) {
    file.refuse("the PNM's header is damaged: it says " + std::to_string(width) + " x " +
                std::to_string(height) + " pixels up to " + std::to_string(largest));
  }
  file.check_size(width, height);
  const size_t value_bytes = largest > 255 ? 2 : 1;
  const uint64_t wanted = uint64_t{width} * height * channels * value_bytes;
  if (wanted > size - at) {
    file.refuse("the PNM is cut short: it has " + std::to_string(size) + " bytes, expected are " +
                std::to_string(at + wanted));
  }
  std::vector<uint8_t> levels(largest + 1);
  for (uint32_t value = 0; value <= largest; ++value)
    levels[value] = static_cast<uint8_t>(std::nearbyint(double{1} * value / largest * 255));
  Image image = blank_image(width, height);
  const uint8_t* from = data + at;
  uint8_t* to = image.pixels.get();
  const bool is_copied = channels == 3 && largest == 255;  // each value is its own level
  for (size_t row = 0; row < height; ++row) {
    check_interruption(file.use.interruption);
    if (is_copied) {
      to = std::copy_n(from, 3 * width, to);
      from += 3 * width;
      continue;
    }
    for (const uint8_t* const end = to + 3 * width; to != end; to += 3) {
      for (size_t c = 0; c < channels; ++c, from += value_bytes) {
        const uint32_t value = value_bytes == 1 ? from[0] : uint32_t{from[0]} << 8 | from[1];
        to[c] = levels[std::min(value, largest)];
      }
      if (channels == 1) to[1] = to[2] = to[0];
    }
  }
  return image;
}

}  // namespace lightcap::internal
