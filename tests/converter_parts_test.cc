// The converter's parts, each alone: folding, names, checksums, made-up weights, text files, sizes.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/expect_error.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/fold_batchnorm.h"
#include "weights_converter/infer.h"
#include "weights_converter/names.h"
#include "weights_converter/random.h"
#include "weights_converter/sha256.h"
#include "weights_converter/text_files.h"

namespace lightcap::internal::testing {
namespace {

// ---- Folding ----

TEST(FoldBatchNorm, EqualsConvolutionThenBatchNorm) {
  const BatchNorm norm = {.weight = {1.5f, -0.25f},
                          .bias = {0.1f, 3.0f},
                          .running_mean = {-2.0f, 0.7f},
                          .running_var = {0.3f, 1e-8f},
                          .eps = 1e-3};
  const ScaleAndShift folded = fold(norm, "bn");
  std::vector<float> weights = {0.5f, -1.25f, 2.0f, 7.0f, 0.001f, -3.0f};
  const std::vector<float> before = weights;
  scale_outputs(folded.scale, weights);
  const double x[3] = {0.3, -1.1, 2.5};
  for (size_t channel = 0; channel < 2; ++channel) {
    double conv = 0, fused = folded.shift[channel];
    for (size_t k = 0; k < 3; ++k) {
      conv += before[channel * 3 + k] * x[k];
      fused += double{weights[channel * 3 + k]} * x[k];
    }
    const double expected = (conv - norm.running_mean[channel]) /
                                std::sqrt(norm.running_var[channel] + norm.eps) *
                                norm.weight[channel] +
                            norm.bias[channel];
    // Three products, each with a weight rounded once to fp32.
    EXPECT_NEAR(fused, expected, 3 * 0x1p-24 * 250);
  }
}

TEST(FoldBatchNorm, AVarianceOfZeroIsPyTorchs) {
  const ScaleAndShift folded = fold({{2}, {1}, {0.5}, {0}, 1e-4}, "bn");
  EXPECT_DOUBLE_EQ(folded.scale[0], 200);
  EXPECT_DOUBLE_EQ(folded.shift[0], -99);
}

TEST(FoldBatchNorm, ListsChannelsThatCannotBeFolded) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(error_of([] {
              fold({{1, 1, 1}, {0, 0, 0}, {0, 0, 0}, {1, -0.5, kNan}, 1e-3}, "x.bn");
            }),
            "the BatchNorm x.bn cannot be folded: 2 of 3 channels have a negative variance or "
            "numbers that are not finite: channel 1 (variance -0.500000), 2 (variance nan)");
  error_of([] { fold({{1}, {0}, {0}, {0}, 0}, "no eps"); });
  error_of([] { fold({{1}, {kNan}, {0}, {1}, 1e-3}, "bias"); });
  // Negative by less than eps would give a number, but no meaning.
  error_of([] { fold({{1}, {0}, {0}, {-1e-6f}, 1e-3}, "slightly"); });
}

// ---- Names ----

TEST(Names, Distances) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("same", "same"), 0u);
}

TEST(Names, OnlySpellingsOfOneModuleAreAlike) {
  EXPECT_EQ(spelling_difference("m.fc2.weight", "m.fc2.weight"), 0u);
  EXPECT_EQ(spelling_difference("m.fc_2.weight", "m.fc2.weight"), 1u);
  EXPECT_EQ(spelling_difference("b.1.norm.bias", "b.1.LayerNorm.bias"), 1u);
  for (const char* other :
       {"m.fc1.weight", "m.fc2.bias", "m.fc2", "n.fc_2.weight", "m.key.weight"}) {
    EXPECT_FALSE(spelling_difference(other, "m.fc2.weight")) << other;
  }
  EXPECT_FALSE(spelling_difference("bn.running_mean", "bn.running_var"));
}

// ---- Provenance ----

TEST(Sha256, OfAFileReadInPieces) {
  const TemporaryFolder folder;
  const auto of_file = [&](const std::string& text) {
    write_text(folder / "file", text);
    return sha256_of_file(*MappedFile::open(folder / "file"));
  };
  EXPECT_EQ(of_file("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  for (const size_t size : {0u, 1u, 262143u, 262144u, 262145u, 600000u}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; i += 1000) text[i] = static_cast<char>(i / 1000);
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    EXPECT_EQ(of_file(text), sha256_hex({bytes, size})) << size;
  }
}

// ---- Made-up weights ----

TEST(Random, TheSameEverywhere) {
  std::vector<float> values(5);
  fill_random(7, "modulator.fc1.weight", {.deviation = 1 / std::sqrt(5.0)}, values);
  const std::vector<float> expected = {0x1.77a952p-1f, 0x1.6022a8p-4f, 0x1.3549c8p-1f,
                                       0x1.5ad116p-2f, -0x1.716686p-3f};
  EXPECT_EQ(values, expected);
}

TEST(Random, DependsOnSeedAndNameOnly) {
  std::vector<float> a(8), b(8), longer(16);
  fill_random(1, "modulator.fc1.weight", {}, a);
  fill_random(1, "modulator.fc1.weight", {}, longer);
  EXPECT_EQ(a, std::vector<float>(longer.begin(), longer.begin() + 8));
  fill_random(2, "modulator.fc1.weight", {}, b);
  EXPECT_NE(a, b);
  fill_random(1, "modulator.fc2.weight", {}, b);
  EXPECT_NE(a, b);
}

// The weights of a model with these sizes that `name` describes.
RandomInit random_init(const Config& config, const std::string& name) {
  for (const TensorSpec& spec : schema(config)) {
    if (spec.name == name) return spec.random;
  }
  ADD_FAILURE() << "the schema lacks " << name;
  return {};
}

TEST(Random, KeepsProductsOfOrderOne) {
  std::vector<float> values(64 * 1000);
  const std::string name = "bert.encoder.layer.0.output.dense.weight";
  Config config;
  config.fusion.feed_forward = 1000;
  fill_random(3, name, random_init(config, name), values);
  double sum = 0, squares = 0;
  for (const float value : values) sum += value, squares += double{value} * value;
  const auto count = static_cast<double>(values.size());
  // The deviations of mean and mean square of `count` even draws, five times.
  const double variance = 1e-3;
  EXPECT_NEAR(sum / count, 0, 5 * std::sqrt(variance / count));
  EXPECT_NEAR(squares / count, variance, 5 * variance * std::sqrt(0.8 / count));
}

TEST(Random, WithoutADeviationAllAreTheMean) {
  std::vector<float> values(3);
  fill_random(3, "detector.model.0.bn.running_var", {.mean = 1, .deviation = 0}, values);
  EXPECT_EQ(values, std::vector<float>(3, 1.0f));
}

TEST(Random, TheDetectorsHeadHasYolosAnchorsAndRareObjects) {
  std::vector<float> values(18);
  std::string name = "detector.model.24.anchors";
  fill_random(3, name, random_init({}, name), values);
  EXPECT_EQ(values[0], 10.0f / 8);
  EXPECT_EQ(values[17], 326.0f / 32);
  name = "detector.model.24.m.1.bias";
  fill_random(3, name, random_init({}, name), values);
  for (size_t i = 0; i < values.size(); ++i) {
    const float expected = i % 6 == 4 ? -4.0f : i % 6 == 5 ? 2.0f : 0.0f;
    EXPECT_NEAR(values[i], expected, 0.3 * std::sqrt(3.0)) << i;
  }
}

TEST(Random, PlaceholderWords) {
  const std::vector<std::string> words = placeholder_vocabulary(30522);
  EXPECT_EQ(words[0], "[PAD]");
  EXPECT_EQ(words[100], "[UNK]");
  EXPECT_EQ(words[101], "[CLS]");
  EXPECT_EQ(words[102], "[SEP]");
  EXPECT_EQ(words[103], "[MASK]");
  EXPECT_EQ(words[1600], "w1600");
  EXPECT_EQ(placeholder_labels(601)[600], "w1600");
  EXPECT_EQ(placeholder_vocabulary(5),
            (std::vector<std::string>{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}));
}

// ---- Vocabulary, labels, config ----

TEST(TextFiles, Vocabulary) {
  const std::vector<std::string> expected = {"[PAD]",  "[UNK]", "[CLS]", "[SEP]",
                                             "[MASK]", "##s",   ","};
  EXPECT_EQ(parse_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##s\n,\n", "v"), expected);
  EXPECT_EQ(parse_vocabulary(
                "\xef\xbb\xbf[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\n##s\r\n,\r\n\r\n", "v"),
            expected);
  EXPECT_EQ(parse_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##s\n,", "v"), expected);
  EXPECT_EQ(error_of([] { parse_vocabulary("[PAD]\na\n[SEP]\n", "v.txt"); }),
            "v.txt: not a WordPiece vocabulary: of its 3 lines none is [UNK] [CLS] [MASK]");
  EXPECT_EQ(error_of([] { parse_vocabulary("\n\n", "v.txt"); }), "v.txt: the file is empty");
  EXPECT_EQ(error_of([] { parse_vocabulary("[PAD]\n\n[UNK]\n", "v.txt"); }),
            "v.txt: line 2 is empty");
}

TEST(TextFiles, OnlyUtf8) {
  for (const char* good : {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf"}) {
    EXPECT_EQ(parse_labels(good, "l"), std::vector<std::string>{good});
  }
  for (const char* bad : {"\xe9", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80"}) {
    EXPECT_EQ(error_of([&] { parse_labels(std::string("a\n") + bad, "l"); }),
              "l: line 2 is not UTF-8 text");
  }
}

TEST(TextFiles, Labels) {
  const std::vector<std::string> expected = {"traffic light", "man", "tree"};
  EXPECT_EQ(parse_labels("traffic light\nman,person , guy\n tree \n", "l"), expected);
  EXPECT_EQ(error_of([] { parse_labels("man\n,person\n", "l.txt"); }),
            "l.txt: line 2 has no label before its comma");
}

TEST(TextFiles, ConfigSetsWhatItNames) {
  Config config;
  parse_config(R"({"image_encoder": {"image_size": 288, "resize": "center_crop", "std": [1, 2, 3]},
                   "concept_extractor": {"deduplicate": false},
                   "fusion": {"layer_norm_eps": 1e-5}, "head": {}})",
               "c", config);
  EXPECT_EQ(config.image_encoder.image_size, 288u);
  EXPECT_EQ(config.image_encoder.resize, Resize::kCenterCrop);
  EXPECT_EQ(config.image_encoder.std, (std::array<double, 3>{1, 2, 3}));
  EXPECT_FALSE(config.concept_extractor.deduplicate);
  EXPECT_EQ(config.fusion.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.detector.max_proposals, 20u);
}

TEST(TextFiles, ConfigListsAllThatIsWrong) {
  Config config;
  const std::string error = error_of([&] {
    parse_config(R"({"image_encoder": {"image_sise": 224, "mean": [0, 0], "resize": "crop"},
                     "detector": {"max_proposals": 0, "iou_threshold": 1.5},
                     "fusion": {"heads": -1, "caption_slots": 2.5, "decode": 1},
                     "concept_extractor": {"deduplicate": 1}, "haed": {"ensemble": "mean_logit"},
                     "beams": 5})",
                 "c.json", config);
  });
  expect_has(error, "c.json: these settings are wrong:");
  expect_has(error,
             "image_encoder.image_sise is not known, did you mean image_encoder.image_size?");
  expect_has(error, "image_encoder.mean is [0,0], expected 3 numbers from -1000000.0 to 1000000.0");
  expect_has(error, "image_encoder.resize is \"crop\", expected \"stretch\" or \"center_crop\"");
  expect_has(error, "detector.max_proposals is 0, expected a whole number from 1 to 1000");
  expect_has(error, "detector.iou_threshold is 1.5, expected a number from 0.0 to 1.0");
  expect_has(error, "fusion.heads is -1, expected a whole number from 1 to 1024");
  expect_has(error, "fusion.caption_slots is 2.5, expected a whole number");
  expect_has(error, "fusion.decode is 1, expected \"mask\" or \"causal\"");
  expect_has(error, "concept_extractor.deduplicate is 1, expected true or false");
  expect_has(error, "haed.ensemble is not known, did you mean head.ensemble?");
  expect_has(error, "beams is not known");
}

TEST(TextFiles, ConfigThatIsNone) {
  Config config;
  expect_has(error_of([&] { parse_config("{\"fusion\": ", "c.json", config); }),
             "c.json: not JSON: ");
  expect_has(error_of([&] { parse_config("[]", "c.json", config); }), "c.json: expected an object");
  expect_has(error_of([&] { parse_config(std::string(100000, '['), "c.json", config); }),
             "not JSON");
  expect_has(error_of([] { read_text("/nowhere/c.json"); }), "/nowhere/c.json: cannot open");
}

// ---- Sizes ----

TEST(Infer, AllSizesFromShapes) {
  Config expected = tiny_config();
  expected.fusion.grid_position = true;
  Shapes shapes;
  for (const auto& [name, tensor] : tiny_tensors(expected)) shapes[name] = tensor.shape;
  Config config;
  infer_sizes(shapes, config);
  EXPECT_EQ(config.image_encoder.width, expected.image_encoder.width);
  EXPECT_EQ(config.image_encoder.blocks, expected.image_encoder.blocks);
  EXPECT_EQ(config.detector.widths, expected.detector.widths);
  EXPECT_EQ(config.detector.depths, expected.detector.depths);
  EXPECT_EQ(config.detector.classes, expected.detector.classes);
  EXPECT_EQ(config.detector.anchors, expected.detector.anchors);
  EXPECT_EQ(config.concept_extractor.hidden, expected.concept_extractor.hidden);
  EXPECT_EQ(config.concept_extractor.embedding, expected.concept_extractor.embedding);
  EXPECT_EQ(config.concept_extractor.vocabulary, expected.concept_extractor.vocabulary);
  EXPECT_EQ(config.modulator.width, expected.modulator.width);
  EXPECT_EQ(config.fusion.width, expected.fusion.width);
  EXPECT_EQ(config.fusion.layers, expected.fusion.layers);
  EXPECT_EQ(config.fusion.feed_forward, expected.fusion.feed_forward);
  EXPECT_EQ(config.fusion.vocabulary, expected.fusion.vocabulary);
  EXPECT_EQ(config.fusion.positions, expected.fusion.positions);
  EXPECT_EQ(config.fusion.token_types, expected.fusion.token_types);
  EXPECT_TRUE(config.fusion.grid_position);
  EXPECT_EQ(config.head.branches, expected.head.branches);
}

TEST(Infer, NeighboursTellWhatIsNotThere) {
  Config config;
  infer_sizes({{"visual_projection.dense.weight", {128, 512}}, {"head.bias", {1000}}}, config);
  EXPECT_EQ(config.image_encoder.width, 16u);
  EXPECT_EQ(config.fusion.width, 128u);
  EXPECT_EQ(config.fusion.vocabulary, 1000u);
  EXPECT_EQ(config.fusion.layers, 4u);
}

TEST(Infer, TheModulatorsWidthIsItsOwn) {
  Config config;
  infer_sizes({{"modulator.fc1.weight", {16, 128}}}, config);
  EXPECT_EQ(config.modulator.width, 16u);
  EXPECT_EQ(config.fusion.width, 312u);
  infer_sizes({{"modulator.fc2.weight", {2048, 7}}}, config);
  EXPECT_EQ(config.modulator.width, 7u);
  infer_sizes({{"visual_projection.dense.weight", {128, 512}}}, config);
  EXPECT_EQ(config.modulator.width, 16u) << "an eighth, where nothing says it";
  infer_sizes({{"visual_projection.dense.weight", {4, 512}}}, config);
  EXPECT_EQ(config.modulator.width, 1u);
}

TEST(Infer, SizesOutOfBounds) {
  Config config;
  const std::string error = error_of([&] {
    infer_sizes({{"image_encoder.layer3.4000000000.conv1.weight", {1}},
                 {"image_encoder.conv3.weight", {9999, 1, 1, 1}},
                 {"head.branches.99999999999999999999.dense.weight", {1, 1}}},
                config);
  });
  expect_has(error, "image_encoder.width is 9999, expected 2 to 1024");
  expect_has(error, "image_encoder.blocks is 4000000001, expected 1 to 64");
  EXPECT_EQ(config.head.branches, 3u);
}

}  // namespace
}  // namespace lightcap::internal::testing
