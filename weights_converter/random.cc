#include "weights_converter/random.h"

#include <array>
#include <cmath>

#include "engine/text/fnv1a.h"

namespace lightcap::internal {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixing function.
class Random {
 public:
  Random(uint64_t seed, std::string_view name) : counter_(seed) {
    // By its name, so that a tensor does not depend on which others are made.
    counter_ = next() ^ fnv1a(name);
  }
  uint64_t next() {
    uint64_t z = counter_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  uint64_t counter_;
};

// Evenly spread around `mean` with this standard deviation. Two values from each 64 bits; one
// rounding in double and one to float, so that no compiler's contraction changes a bit.
void fill_uniform(Random& random, double mean, double deviation, std::span<float> out) {
  if (deviation == 0) {
    for (float& one : out) one = static_cast<float>(mean);
    return;
  }
  constexpr double kSqrt3 = 1.7320508075688772;
  const double scale = deviation * kSqrt3 / 2147483648.0;  // of integers below 2^31
  const double shift = std::round(mean / scale);
  const auto value = [&](uint32_t bits) {
    return static_cast<float>((shift + static_cast<double>(static_cast<int32_t>(bits))) * scale);
  };
  size_t i = 0;
  for (; i + 2 <= out.size(); i += 2) {
    const uint64_t bits = random.next();
    out[i] = value(static_cast<uint32_t>(bits));
    out[i + 1] = value(static_cast<uint32_t>(bits >> 32));
  }
  if (i < out.size()) out[i] = value(static_cast<uint32_t>(random.next()));
}

std::string word(uint64_t id) {
  std::string text = "w";
  text += std::to_string(id);
  return text;
}

}  // namespace

void fill_random(uint64_t seed, std::string_view name, const RandomInit& init,
                 std::span<float> out) {
  Random random(seed, name);
  fill_uniform(random, init.mean, init.deviation, out);
  if (init.change != nullptr) init.change(out);
}

std::vector<std::string> placeholder_vocabulary(uint64_t size) {
  std::vector<std::string> words(size);
  for (uint64_t id = 0; id < size; ++id) words[id] = word(id);
  constexpr std::array<const char*, 5> kSpecial = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  const uint64_t first = size > 103 ? 100 : 1;
  words[0] = kSpecial[0];
  for (uint64_t i = 1; i < kSpecial.size(); ++i) words[first + i - 1] = kSpecial[i];
  return words;
}

std::vector<std::string> placeholder_labels(uint64_t size) {
  constexpr uint64_t kFirst = 1000;  // where BERT's whole words begin
  std::vector<std::string> labels(size);
  for (uint64_t i = 0; i < size; ++i) labels[i] = word(kFirst + i);
  return labels;
}

}  // namespace lightcap::internal
