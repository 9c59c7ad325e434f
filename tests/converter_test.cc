// From checkpoints to a model: folding, sizes, merging, made-up weights, and every error's words.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/error.h"
#include "models/weights.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/fold_batchnorm.h"
#include "weights_converter/infer.h"
#include "weights_converter/names.h"
#include "weights_converter/random.h"
#include "weights_converter/sha256.h"
#include "weights_converter/text_files.h"
#include "weights_converter/verify.h"

namespace lightcap::testing {
namespace {

template <class Function>
std::string error_of(Function&& function, ErrorCode code = ErrorCode::kCheckpoint) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
}
void expect_lacks(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << "\"" << part << "\" in: " << text;
}

// The four roles' files, vocabulary and labels of the tiny model in a folder.
class Files {
 public:
  TinyTensors tensors = tiny_tensors();
  ConversionOptions options;
  TemporaryFolder folder;

  Files() {
    options.vocabulary = folder / "vocab.txt";
    options.labels = folder / "labels.txt";
    write_text(options.vocabulary, tiny_vocabulary(tiny_config().fusion.vocabulary));
    write_text(options.labels, tiny_labels(tiny_config().concept_extractor.vocabulary));
  }
  void give(Role role, const TinyTensors& given) {
    std::string& path = options.checkpoints[static_cast<size_t>(role)];
    path = folder / (std::string(role_option(role)).substr(2) + ".safetensors");
    write_safetensors(path, given);
  }
  // Everything in one file.
  void give_whole() { give(Role::kLightcap, tensors); }
  // The message of a conversion of the whole file, without the folder's name.
  std::string error(ErrorCode code = ErrorCode::kCheckpoint) {
    std::string text = error_of([this] { convert(); }, code);
    const std::string root = folder / "";
    for (size_t at = text.find(root); at != std::string::npos; at = text.find(root)) {
      text.erase(at, root.size());
    }
    return text;
  }
  std::string error_of_whole() {
    give_whole();
    return error();
  }
  std::vector<uint8_t> convert() const {
    const Conversion conversion(options);
    return weights_in_memory(conversion.plan(), [&](size_t index, std::span<float> out) {
      conversion.fill(index, out);
    });
  }
};

std::vector<float> filled(const Conversion& conversion, const std::string& name) {
  const auto& tensors = conversion.plan().tensors;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name != name) continue;
    std::vector<float> values(tensors[i].elements());
    conversion.fill(i, values);
    return values;
  }
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

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
  EXPECT_EQ(dotted_distance("a.b.c", "a.x.c"), 1u);
  EXPECT_EQ(dotted_distance("a.b.c", "b.c"), 1u);
}

// ---- Provenance ----

TEST(Sha256, OfAFileReadInPieces) {
  const TemporaryFolder folder;
  const auto of_file = [&](const std::string& text) {
    write_text(folder / "file", text);
    return sha256_of_file(folder / "file");
  };
  EXPECT_EQ(of_file("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  for (const size_t size : {0u, 1u, 262143u, 262144u, 262145u, 600000u}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; i += 1000) text[i] = static_cast<char>(i / 1000);
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    EXPECT_EQ(of_file(text), sha256_hex({bytes, size})) << size;
  }
  expect_has(error_of([] { sha256_of_file("/nowhere/file"); }), "/nowhere/file: No such file");
}

// ---- Made-up weights ----

TEST(Random, TheSameEverywhere) {
  std::vector<float> values(5);
  fill_random(7, "modulator.fc1.weight", {1, 5}, values);
  const std::vector<float> expected = {0x1.77a952p-1f, 0x1.6022a8p-4f, 0x1.3549c8p-1f,
                                       0x1.5ad116p-2f, -0x1.716686p-3f};
  EXPECT_EQ(values, expected);
}

TEST(Random, DependsOnSeedAndNameOnly) {
  std::vector<float> a(8), b(8), longer(16);
  fill_random(1, "modulator.fc1.weight", {2, 4}, a);
  fill_random(1, "modulator.fc1.weight", {4, 4}, longer);
  EXPECT_EQ(a, std::vector<float>(longer.begin(), longer.begin() + 8));
  fill_random(2, "modulator.fc1.weight", {2, 4}, b);
  EXPECT_NE(a, b);
  fill_random(1, "modulator.fc2.weight", {2, 4}, b);
  EXPECT_NE(a, b);
}

TEST(Random, KeepsProductsOfOrderOne) {
  std::vector<float> values(64 * 1000);
  fill_random(3, "bert.encoder.layer.0.output.dense.weight", {64, 1000}, values);
  double sum = 0, squares = 0;
  for (const float value : values) sum += value, squares += double{value} * value;
  const auto count = static_cast<double>(values.size());
  // The deviations of mean and mean square of `count` even draws, five times.
  const double variance = 1e-3;
  EXPECT_NEAR(sum / count, 0, 5 * std::sqrt(variance / count));
  EXPECT_NEAR(squares / count, variance, 5 * variance * std::sqrt(0.8 / count));
}

TEST(Random, BatchNormIsTheIdentity) {
  std::vector<float> one(1);
  for (const auto& [name, value] : {std::pair("detector.model.0.bn.running_var", 1.f),
                                    {"image_encoder.bn1.weight", 1.f},
                                    {"image_encoder.layer1.0.downsample.1.bias", 0.f},
                                    {"image_encoder.layer1.0.bn2.running_mean", 0.f}}) {
    const std::string full = name;
    fill_random(3, full, {1}, one);
    EXPECT_EQ(one[0], value) << name;
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

// ---- Putting together ----

TEST(Conversion, WhatTheEngineReads) {
  Files files;
  files.give_whole();
  files.options.licenses = {"CC0 for all"};
  const std::vector<uint8_t> bytes = files.convert();
  const Weights weights(WeightsFile::from_buffer({bytes.data(), bytes.size()}, "memory"));
  EXPECT_EQ(weights.config().detector.widths, tiny_config().detector.widths);
  EXPECT_EQ(weights.config().fusion.positions, 61u);
  EXPECT_EQ(weights.config().head.ensemble, Ensemble::kMeanProbability);
  const auto texts = [&](const char* key) {
    return std::get<std::vector<std::string_view>>(*weights.file().find_value(key));
  };
  EXPECT_EQ(texts("vocabulary").size(), 33u);
  EXPECT_EQ(texts("vocabulary")[4], "[MASK]");
  EXPECT_EQ(texts("labels")[6], "thing6");
  EXPECT_EQ(texts("licenses"), std::vector<std::string_view>{"CC0 for all"});
  ASSERT_EQ(texts("sources").size(), 1u);
  EXPECT_TRUE(texts("sources")[0].starts_with("lightcap: lightcap.safetensors, sha256 "));
  EXPECT_EQ(texts("sources")[0].size(), sizeof("lightcap: lightcap.safetensors, sha256 ") - 1 + 64);
  expect_has(std::string(std::get<std::string_view>(*weights.file().find_value("producer"))),
             "lightcap-convert ");

  // Row 5 of the embedding, in its panel.
  const auto& embedding = files.tensors.at("bert.embeddings.word_embeddings.weight").values;
  const float* panels = weights.floats("bert.embeddings.word_embeddings.weight");
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(panels[i * 16 + 5], embedding[5 * 24 + i]);
}

TEST(Conversion, FoldsWithTheGraphsEps) {
  Files files;
  files.give_whole();
  const Conversion conversion(files.options);
  for (const auto& [conv, norm, eps] :
       {std::tuple("image_encoder.layer1.0.downsample.0", "image_encoder.layer1.0.downsample.1",
                   1e-5),
        std::tuple("detector.model.9.cv2.conv", "detector.model.9.cv2.bn", 1e-3)}) {
    const auto part = [&, root = std::string(norm)](const char* name) {
      return files.tensors.at(root + name).values;
    };
    const auto& weight = files.tensors.at(std::string(conv) + ".weight");
    const std::vector<float> folded = filled(conversion, std::string(conv) + ".weight");
    const std::vector<float> bias = filled(conversion, std::string(conv) + ".bias");
    const size_t depth = weight.values.size() / bias.size();
    for (size_t i = 0; i < bias.size(); ++i) {
      const double scale = part(".weight")[i] / std::sqrt(part(".running_var")[i] + eps);
      EXPECT_FLOAT_EQ(bias[i],
                      static_cast<float>(part(".bias")[i] - part(".running_mean")[i] * scale));
      for (size_t k = 0; k < depth; ++k) {
        EXPECT_EQ(folded[i * depth + k], static_cast<float>(weight.values[i * depth + k] * scale));
      }
    }
  }
}

TEST(Conversion, VocabularyRowsHaveLengthOne) {
  Files files;
  auto& rows = files.tensors.at("concept_extractor.vocabulary").values;
  std::fill(rows.begin(), rows.begin() + 11, 0.0f);  // stays
  rows[11] = 1e20f;                                  // whose square is no float
  files.give_whole();
  const std::vector<float> unit = filled(Conversion(files.options), "concept_extractor.vocabulary");
  for (size_t row = 0; row < 7; ++row) {
    double squares = 0;
    for (size_t i = 0; i < 11; ++i) squares += double{unit[row * 11 + i]} * unit[row * 11 + i];
    EXPECT_NEAR(squares, row == 0 ? 0 : 1, 1e-6);
  }
}

TEST(Conversion, FourFilesAreOneModel) {
  Files whole;
  whole.give_whole();
  Files split;
  TinyTensors own;
  for (const auto& [name, tensor] : split.tensors) {
    if (name.starts_with("image_encoder.") || name.starts_with("detector.") ||
        name.starts_with("bert.")) {
      continue;
    }
    own[name] = tensor;
  }
  TinyTensors clip = with_prefix(split.tensors, "image_encoder.", "visual.");
  clip["visual.attnpool.positional_embedding"] = {{2, 2}, {1, 2, 3, 4}};
  clip["text_projection"] = {{1}, {1}};
  TinyTensors bert = with_prefix(split.tensors, "bert.", "module.bert.");
  for (const char* name : {"weight", "bias"}) {
    const std::string modern = std::string("module.bert.embeddings.LayerNorm.") + name;
    const std::string old = std::string(name) == "weight" ? "gamma" : "beta";
    bert["module.bert.embeddings.LayerNorm." + old] = bert.at(modern);
    bert.erase(modern);
  }
  split.give(Role::kImageEncoder, clip);
  split.give(Role::kDetector, with_prefix(split.tensors, "detector.", ""));
  split.give(Role::kBert, bert);
  split.give(Role::kLightcap, own);

  const Conversion one(whole.options), four(split.options);
  ASSERT_EQ(one.plan().tensors.size(), four.plan().tensors.size());
  for (const PlannedTensor& tensor : one.plan().tensors) {
    EXPECT_EQ(filled(one, tensor.name), filled(four, tensor.name)) << tensor.name;
  }
  EXPECT_TRUE(four.notes().empty()) << four.notes()[0];
}

TEST(Conversion, TheLaterFileWins) {
  Files files;
  TinyTensors bert = with_prefix(files.tensors, "bert.", "bert.");
  const std::string shared = "bert.encoder.layer.1.output.dense.bias";
  const std::string only_first = "bert.encoder.layer.0.output.dense.bias";
  std::fill(bert.at(shared).values.begin(), bert.at(shared).values.end(), 5.f);
  std::fill(bert.at(only_first).values.begin(), bert.at(only_first).values.end(), 6.f);
  TinyTensors rest = files.tensors;
  rest.erase(only_first);
  files.give(Role::kBert, bert);
  files.give(Role::kLightcap, rest);
  const Conversion conversion(files.options);
  EXPECT_EQ(filled(conversion, shared), files.tensors.at(shared).values);
  EXPECT_EQ(filled(conversion, only_first), std::vector<float>(24, 6.f));
}

TEST(Conversion, BatchNormFoldedAlready) {
  Files files;
  const std::string norm = "detector.model.1.bn", conv = "detector.model.1.conv";
  for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
    files.tensors.erase(norm + part);
  }
  files.tensors[conv + ".bias"] = {{6}, {1, 2, 3, 4, 5, 6}};
  files.give_whole();
  const Conversion conversion(files.options);
  EXPECT_EQ(filled(conversion, conv + ".bias"), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(filled(conversion, conv + ".weight"), files.tensors.at(conv + ".weight").values);
}

TEST(Conversion, HalvesAreForMatrices) {
  Files files;
  files.give_whole();
  files.options.type = DataType::kBf16;
  const Conversion conversion(files.options);
  for (const PlannedTensor& tensor : conversion.plan().tensors) {
    EXPECT_EQ(tensor.type, tensor.layout == Layout::kPanels ? DataType::kBf16 : DataType::kF32)
        << tensor.name;
  }
  const std::vector<uint8_t> bytes = files.convert();
  const Weights weights(WeightsFile::from_buffer({bytes.data(), bytes.size()}, "memory"));
  const float given = files.tensors.at("modulator.fc1.weight").values[0];
  EXPECT_NEAR(weights.floats("modulator.fc1.weight")[0], given, std::abs(given) * 0x1p-8);
}

TEST(Conversion, VerifiesItsOwnFile) {
  Files files;
  files.give_whole();
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
    files.options.type = type;
    const Conversion conversion(files.options);
    const FillTensor fill = [&](size_t i, std::span<float> out) { conversion.fill(i, out); };
    const std::string path = files.folder / "model.lcw";
    write_weights(conversion.plan(), fill, path);
    EXPECT_NO_THROW(verify_weights(path, conversion.plan(), fill));
  }
}

// ---- What is wrong, all at once ----

TEST(ConversionErrors, AllMissingTensorsWithTheNearest) {
  Files files;
  const auto rename = [&](const std::string& from, const std::string& to) {
    files.tensors[to] = files.tensors.at(from);
    files.tensors.erase(from);
  };
  rename("modulator.fc2.weight", "modulator.fc_2.weight");
  rename("head.branches.1.LayerNorm.bias", "head.branches.1.norm.bias");
  files.tensors.erase("bert.encoder.layer.1.attention.self.key.weight");
  files.tensors.erase("image_encoder.layer1.1.bn2.running_var");
  const std::string error = files.error_of_whole();
  expect_has(error, "missing tensors:");
  expect_has(
      error,
      "\n  modulator.fc2.weight [128, 24], the nearest is modulator.fc_2.weight [128, 24] in "
      "lightcap.safetensors");
  expect_has(
      error,
      "\n  head.branches.1.LayerNorm.bias [24], the nearest is head.branches.1.norm.bias [24]");
  expect_has(error, "\n  bert.encoder.layer.1.attention.self.key.weight [24, 24]");
  expect_has(error, "\n  image_encoder.layer1.1.bn2.running_var [4]");
  expect_lacks(error, "fc1");
}

TEST(ConversionErrors, AWholePartIsOneLine) {
  Files files;
  files.tensors = [&] {
    TinyTensors rest;
    for (const auto& [name, tensor] : files.tensors) {
      if (!name.starts_with("detector.") && !name.starts_with("modulator.")) rest[name] = tensor;
    }
    return rest;
  }();
  const std::string error = files.error_of_whole();
  expect_has(error,
             "\n  modulator.*: all 4; give --lightcap FILE, or --random SEED to make them up");
  expect_has(error, "\n  detector.*: all ");
  expect_has(error, "give --detector FILE");
  EXPECT_LT(error.size(), 300u);
}

TEST(ConversionErrors, AllWrongShapes) {
  Files files;
  files.tensors["modulator.fc1.bias"] = {{25}, std::vector<float>(25)};
  files.tensors["visual_projection.dense.weight"] = {{24, 64}, std::vector<float>(24 * 64)};
  files.tensors["detector.model.24.m.2.weight"] = {{16, 14}, std::vector<float>(16 * 14)};
  files.tensors.erase("head.bias");
  const std::string error = files.error_of_whole();
  expect_has(error, "tensors that do not fit the model:");
  expect_has(error, "\n  modulator.fc1.bias in lightcap.safetensors is [25], expected [24]");
  expect_has(error,
             "\n  visual_projection.dense.weight in lightcap.safetensors is [24, 64], "
             "expected [24, 128]");
  expect_has(error,
             "\n  detector.model.24.m.2.weight in lightcap.safetensors is [16, 14], "
             "expected [16, 14, 1, 1]");
  expect_has(error, "missing tensors:\n  head.bias [33]");
}

TEST(ConversionErrors, SizesThatContradictSettings) {
  Files files;
  files.options.config = files.folder / "config.json";
  write_text(files.options.config, R"({"fusion": {"heads": 5}})");
  files.give_whole();
  expect_has(files.error(), "config.json: fusion.heads 5 does not divide the width 24");
  write_text(files.options.config, R"({"fusion": {"max_concept_tokens": 60}})");
  expect_has(files.error(), "80 positions are needed, the position embedding has 61");
}

TEST(ConversionErrors, WordsThatDoNotCount) {
  Files files;
  files.give_whole();
  write_text(files.options.vocabulary, tiny_vocabulary(32));
  EXPECT_EQ(files.error(), "vocab.txt: 32 tokens, the word embedding has 33 rows");
  write_text(files.options.vocabulary, tiny_vocabulary(33));
  write_text(files.options.labels, tiny_labels(8));
  EXPECT_EQ(files.error(), "labels.txt: 8 labels, concept_extractor.vocabulary has 7 rows");
}

TEST(ConversionErrors, NumbersThatAreNone) {
  Files files;
  files.tensors.at("head.bias").values[3] = std::numeric_limits<float>::infinity();
  files.give_whole();
  EXPECT_EQ(files.error(), "lightcap.safetensors: head.bias holds infinity at element 3");
  files.tensors.at("head.bias").values[3] = 0;
  files.tensors.at("detector.model.0.conv.weight").values[7] =
      std::numeric_limits<float>::quiet_NaN();
  files.give_whole();
  EXPECT_EQ(files.error(),
            "lightcap.safetensors: detector.model.0.conv.weight holds NaN at element 7");
}

TEST(ConversionErrors, ANegativeVariance) {
  Files files;
  files.tensors.at("detector.model.0.bn.running_var").values[2] = -1;
  expect_has(files.error_of_whole(),
             "the BatchNorm detector.model.0.bn of lightcap.safetensors cannot be folded: 1 of 4 "
             "channels");
}

TEST(ConversionErrors, WhatMustBeGiven) {
  Files files;
  expect_has(files.error(ErrorCode::kUsage), "no checkpoint is given");
  files.give_whole();
  files.options.labels.clear();
  expect_has(files.error(ErrorCode::kUsage), "--concepts is missing");
  files.options.vocabulary.clear();
  expect_has(files.error(ErrorCode::kUsage), "--vocab is missing");
}

TEST(ConversionErrors, ADetectorGivenAsBert) {
  Files files;
  files.give(Role::kBert, with_prefix(files.tensors, "detector.", ""));
  expect_has(files.error(), "no BERT in it");
  expect_has(files.error(), "pass it with --detector");
}

TEST(ConversionNotes, TensorsWithoutAPlace) {
  Files files;
  files.tensors["modulator.fc3.weight"] = {{1}, {1}};
  files.give_whole();
  const Conversion conversion(files.options);
  ASSERT_EQ(conversion.notes().size(), 1u);
  expect_has(conversion.notes()[0],
             "1 tensors have no place in the model and were left out: modulator.fc3.weight");
}

// ---- --random ----

TEST(ConversionRandom, FillsWhatNoFileNames) {
  Files files;
  files.give(Role::kDetector, with_prefix(files.tensors, "detector.", ""));
  TinyTensors bert = with_prefix(files.tensors, "bert.", "bert.");
  files.give(Role::kBert, bert);
  files.options.random_seed = 5;
  files.options.vocabulary.clear();
  const Conversion conversion(files.options);
  const Config& config = conversion.config();
  EXPECT_EQ(config.detector.widths, tiny_config().detector.widths);
  EXPECT_EQ(config.fusion.width, 24u);
  EXPECT_EQ(config.fusion.vocabulary, 33u);
  EXPECT_EQ(config.concept_extractor.vocabulary, 7u) << "of the labels' file";
  EXPECT_EQ(config.image_encoder.width, 64u);
  EXPECT_EQ(config.head.branches, 3u);
  EXPECT_EQ(filled(conversion, "detector.model.24.m.0.weight"),
            files.tensors.at("detector.model.24.m.0.weight").values);
  std::vector<float> expected(24 * 24);
  fill_random(5, "head.branches.2.dense.weight", {24, 24}, expected);
  EXPECT_EQ(filled(conversion, "head.branches.2.dense.weight"), expected);
  ASSERT_EQ(conversion.notes().size(), 1u);
  expect_has(conversion.notes()[0], "tensors are random: no file names them");
}

TEST(ConversionRandom, LightCapsOwnSizes) {
  ConversionOptions options;
  options.random_seed = 1;
  const Conversion conversion(options);
  uint64_t values = 0;
  for (const PlannedTensor& tensor : conversion.plan().tensors) values += tensor.elements();
  EXPECT_EQ(conversion.config().fusion.vocabulary, 30522u);
  EXPECT_EQ(conversion.config().image_encoder.blocks, (std::array<uint64_t, 4>{3, 4, 6, 3}));
  EXPECT_GT(values, 44'000'000u);
  EXPECT_LT(values, 48'000'000u);
}

}  // namespace
}  // namespace lightcap::testing
