// int8 models: the integers of a caption are the same on every instruction set and for any number
// of threads, and a number with which they could run over is an error.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "kernels/dispatch.h"
#include "models/lightcap.h"
#include "models/schema.h"
#include "models/trace.h"
#include "tests/expect_error.h"
#include "tests/lcw_file.h"

namespace lightcap::internal::testing {
namespace {

Config int8_config() {
  Config config;
  config.image_encoder.image_size = 64;
  config.image_encoder.width = 8;
  config.image_encoder.blocks = {1, 2, 1, 2};
  config.detector.image_size = 64;
  config.detector.widths = {8, 16, 16, 32, 32};
  config.detector.depths = {1, 1, 1, 1, 1, 1, 1, 1};
  config.detector.confidence_threshold = 0;
  config.concept_extractor.hidden = 24;
  config.concept_extractor.embedding = 20;
  config.concept_extractor.vocabulary = 12;
  config.modulator.width = 5;
  config.fusion.heads = 2;
  config.fusion.width = 36;
  config.fusion.layers = 2;
  config.fusion.feed_forward = 50;
  config.fusion.vocabulary = 70;
  config.fusion.positions = 64;
  config.head.branches = 3;
  config.quantization = Quantization::kInt8;
  return config;
}

using Stages = std::map<std::string, std::vector<float>>;

// The results of a caption of a drawn picture, by the stages' names.
Stages caption(const std::shared_ptr<const Model>& model, const KernelTable& kernels, int threads,
               size_t width = 50, size_t height = 30, SessionOptions options = {}) {
  options.kernels = &kernels;
  options.threads = threads;
  Session session(model, options);
  std::vector<uint8_t> pixels(3 * width * height);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * i / 7 + i / 11);
  Stages stages;
  Trace trace([&](const char* name, const float* data, std::initializer_list<size_t> dims) {
    size_t count = 1;
    for (const size_t dim : dims) count *= dim;
    stages[name].assign(data, data + count);
  });
  StageObserver* const observers[] = {&trace};
  session.caption(ImageView{pixels.data(), width, height, 3 * width}, {}, observers);
  return stages;
}

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b,
                      const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << what;
}

TEST(Int8Model, ComputesTheSameIntegersOnEveryInstructionSet) {
  const auto model = open_model(LcwFile::of(int8_config()));
  const Stages expected = caption(model, best_kernels(), 1);
  // Numbers that are all zeros or saturated would show nothing.
  float smallest = std::numeric_limits<float>::infinity(), largest = 0;
  for (const float x : expected.at("image_features")) {
    smallest = std::min(smallest, x);
    largest = std::max(largest, x);
  }
  EXPECT_LT(smallest, largest);
  for (size_t i = 0; i < isa_count(); ++i) {
    if (!isa_supported(isa_at(i))) continue;
    for (const int threads : {1, 2, 3, 4}) {
      const Stages stages = caption(model, *isa_at(i).table, threads);
      const std::string where =
          std::string(isa_at(i).name) + ", threads " + std::to_string(threads);
      for (const char* name : {"encoder_input", "detector_input", "image_features", "detections"})
        expect_same_bits(stages.at(name), expected.at(name), where + ", " + name);
      // The stages from here on are fp32 between their products.
      const auto& logs = stages.at("log_probabilities");
      ASSERT_EQ(logs.size(), expected.at("log_probabilities").size()) << where;
      for (size_t k = 0; k < logs.size(); ++k)
        EXPECT_NEAR(logs[k], expected.at("log_probabilities")[k], 1e-3f) << where;
    }
  }
}

TEST(Int8Model, ComputesTheSameForAnyNumberOfThreads) {
  const auto model = open_model(LcwFile::of(int8_config()));
  const Stages expected = caption(model, best_kernels(), 1, 31, 64);
  for (const int threads : {2, 3, 4}) {
    const Stages stages = caption(model, best_kernels(), threads, 31, 64);
    for (const auto& [name, values] : expected)
      expect_same_bits(stages.at(name), values, name + ", threads " + std::to_string(threads));
  }
}

// Collects the layers that Winograd's filtering computes.
class WinogradLayers : public Observer {
 public:
  void begin(const LayerWork& work) override {
    if (work.kernel == "integer_winograd") names.insert(std::string(work.name));
  }
  void end() override {}
  void task_begin() override {}
  void task_end() override {}
  std::set<std::string> names;
};

TEST(Int8Model, WinogradsFilteringGivesTheBytesOfDirectConvolutions) {
  Config config = int8_config();
  config.image_encoder.width = 64;
  config.detector.widths[1] = 64;
  const auto model = open_model(LcwFile::of(config));
  const Stages expected = caption(model, best_kernels(), 1, 50, 30, {.low_memory = true});
  for (size_t i = 0; i < isa_count(); ++i) {
    const KernelTable& kernels = *isa_at(i).table;
    if (!isa_supported(isa_at(i))) continue;
    for (const int threads : {1, 3}) {
      WinogradLayers direct, filtered;
      caption(model, kernels, threads, 50, 30, {.low_memory = true, .observer = &direct});
      const Stages stages = caption(model, kernels, threads, 50, 30, {.observer = &filtered});
      EXPECT_TRUE(direct.names.empty()) << kernels.isa;
      const std::set<std::string> layers = {"detector.model.2.m.0.cv2.conv", "image_encoder.conv2",
                                            "image_encoder.conv3", "image_encoder.layer1.0.conv2",
                                            "image_encoder.layer2.0.conv2"};
      EXPECT_EQ(filtered.names, kernels.prefers_integer_winograd ? layers : std::set<std::string>())
          << kernels.isa;
      for (const char* name : {"image_features", "detections"})
        expect_same_bits(stages.at(name), expected.at(name), std::string(kernels.isa) + name);
    }
  }
}

// ---- Forged numbers ----

template <class T>
std::string error_with(const std::string& tensor, size_t index, T value) {
  LcwFile file = LcwFile::of(int8_config());
  std::memcpy(file.tensor(tensor).bytes.data() + index * sizeof value, &value, sizeof value);
  return error_of([&] { open_model(file); }, ErrorCode::kModel);
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Int8Model, ScalesArePositiveNumbers) {
  for (const float scale : {0.0f, -1.0f, kNan, kInfinity}) {
    for (const char* tensor :
         {"image_encoder.layer1.0.conv2.scale", "detector.model.24.m.0.scale",
          "concept_extractor.vocabulary.scale", "bert.embeddings.word_embeddings.scale",
          "modulator.fc2.scale", "head.branches.0.dense.scale"}) {
      const std::string error = error_with(tensor, 1, scale);
      expect_has(error, "forged.lcw");
      expect_has(error, std::string(tensor).substr(0, std::string(tensor).rfind('.')));
      expect_has(error, "scale");
    }
  }
}

TEST(Int8Model, SumsCannotRunOver) {
  const std::string layer = "detector.model.1.conv";
  for (const int32_t bias : {INT32_MAX, INT32_MIN})
    expect_has(error_with(layer + ".bias", 0, bias), "sums may run over");
  expect_has(error_with(layer + ".scale", 0, 1e6f), "sums may run over");
  for (const int32_t sum : {INT32_MAX, INT32_MIN})
    expect_has(error_with(layer + ".sum", 3, sum), "sum that its weights cannot have");
}

TEST(Int8Model, NumbersOfALayerAreInTheirRange) {
  const std::string numbers = "image_encoder.conv2.quantization";
  for (const size_t zero : {size_t{0}, size_t{2}, size_t{4}}) {
    for (const float value : {-1.0f, 256.0f, 1.5f, kNan, kInfinity})
      expect_has(error_with(numbers, zero, value), "whole number from 0 to 255");
  }
  for (const size_t scale : {size_t{1}, size_t{3}}) {
    for (const float value : {-1.0f, kNan, kInfinity})
      expect_has(error_with(numbers, scale, value), "scale");
  }
  expect_has(error_with(numbers, 3, 1e9f), "residual scale");
  for (const float value : {-1.0f, 32768.0f, 0.5f, kNan})
    expect_has(error_with(numbers, 5, value), "whole number from 0 to 32767");
}

TEST(Int8Model, ChannelsAreWholeQuads) {
  Config config = int8_config();
  config.detector.widths[0] = 6;
  expect_has(error_of([&] { open_model(LcwFile::of(config)); }, ErrorCode::kModel),
             "expected a multiple of 4");
}

TEST(Int8Model, TypesAreThoseOfTheSchema) {
  LcwFile file = LcwFile::of(int8_config());
  LcwTensor& bias = file.tensor("image_encoder.conv1.bias");
  bias.type = DataType::kF32;
  expect_has(error_of([&] { open_model(file); }, ErrorCode::kModel),
             "expected image_encoder.conv1.bias i32 [4] in row-major, found [4] in row-major");
  file = LcwFile::of(int8_config());
  file.tensor("image_encoder.conv1.weight").layout = Layout::kPanels;
  expect_has(error_of([&] { open_model(file); }, ErrorCode::kModel), "which no reader knows");
}

TEST(Int8Model, OfWordsThatAreUnknownIsAnError) {
  LcwFile file = LcwFile::of(int8_config());
  file.value("quantization") = std::string("int4");
  expect_has(error_of([&] { open_model(file); }, ErrorCode::kModel), "expected none or int8");
}

}  // namespace
}  // namespace lightcap::internal::testing
