#include "weights_converter/random.h"

#include <array>
#include <cmath>

namespace lightcap {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixing function.
class Random {
 public:
  Random(uint64_t seed, std::string_view name) : counter_(seed) {
    // FNV-1a, so that a tensor does not depend on which others are made.
    uint64_t hash = 0xcbf29ce484222325;
    for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    counter_ = next() ^ hash;
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

bool has(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

// Widths and heights in pixels of yolov5n.yaml, for strides 8, 16, 32, in units of the stride.
void fill_anchors(const std::vector<uint64_t>& shape, std::span<float> out) {
  constexpr std::array<std::array<float, 6>, 3> kPixels = {
      {{10, 13, 16, 30, 33, 23}, {30, 61, 62, 45, 59, 119}, {116, 90, 156, 198, 373, 326}}};
  const size_t row = out.size() / shape[0];
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t scale = i / row % kPixels.size();
    out[i] = kPixels[scale][i % row % 6] / static_cast<float>(8 << scale);
  }
}

// Factor on 1/sqrt(inputs) that keeps what follows a product of order 1.
double gain(std::string_view name) {
  if (name.starts_with("image_encoder.")) {
    // ReLU halves the second moment; what is added to a shortcut is kept small.
    const bool residual = has(name, "layer") && name.ends_with(".conv3.weight");
    return residual ? 0.5 : std::sqrt(2.0);
  }
  if (name.starts_with("detector.")) {
    if (has(name, ".24.m.")) return 1.0;
    // SiLU leaves about 0.36 of the second moment.
    const bool residual = has(name, ".m.") && name.ends_with(".cv2.conv.weight");
    return residual ? 0.5 : std::sqrt(1 / 0.36);
  }
  return name == "concept_extractor.proj.0.weight" ? std::sqrt(2.0) : 1.0;
}

// Few of the detector's 25,200 cells pass its threshold: objects are rare, classes are sure.
void fill_detect_bias(Random& random, const std::vector<uint64_t>& shape, std::span<float> out) {
  fill_uniform(random, 0, 0.3, out);
  constexpr size_t kAnchors = 3;
  const size_t fields = shape[0] % kAnchors == 0 ? shape[0] / kAnchors : shape[0];
  constexpr float kObject = -4, kClass = 2;
  for (size_t i = 0; i < out.size(); ++i) {
    if (i % fields == 4) out[i] += kObject;
    if (i % fields > 4) out[i] += kClass;
  }
}

std::string word(uint64_t id) {
  std::string text = "w";
  text += std::to_string(id);
  return text;
}

}  // namespace

void fill_random(uint64_t seed, std::string_view name, const std::vector<uint64_t>& shape,
                 std::span<float> out) {
  Random random(seed, name);
  const bool batch_norm = has(name, ".bn") || has(name, ".downsample.1.");
  const bool weight = name.ends_with(".weight");
  if (batch_norm) {
    const float value = weight || name.ends_with(".running_var") ? 1.0f : 0.0f;
    for (float& one : out) one = value;
  } else if (name.ends_with(".anchors")) {
    fill_anchors(shape, out);
  } else if (has(name, ".24.m.") && name.ends_with(".bias")) {
    fill_detect_bias(random, shape, out);
  } else if (has(name, "LayerNorm")) {
    fill_uniform(random, weight ? 1 : 0, 0.1, out);
  } else if (has(name, "embeddings.")) {
    // The word embedding is the output matrix too: logits get a deviation of 0.15 * sqrt(312) = 3.
    fill_uniform(random, 0, 0.15, out);
  } else if (weight && shape.size() > 1) {
    double inputs = 1;
    for (size_t i = 1; i < shape.size(); ++i) inputs *= static_cast<double>(shape[i]);
    fill_uniform(random, 0, gain(name) / std::sqrt(inputs), out);
  } else if (name == "concept_extractor.vocabulary") {
    fill_uniform(random, 0, 1, out);
  } else {
    fill_uniform(random, 0, 0.1, out);  // biases, grid position
  }
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

}  // namespace lightcap
