// From checkpoints to a model: merging, made-up weights, and every error's words.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "models/weights.h"
#include "tests/checkpoint_files.h"
#include "tests/conversion_files.h"
#include "tests/expect_error.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/random.h"
#include "weights_converter/verify.h"

namespace lightcap::internal::testing {
namespace {

// ---- Putting together ----

TEST(Conversion, WhatTheEngineReads) {
  ConversionFiles files;
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
  const PackedMatrix packed = weights.packed("bert.embeddings.word_embeddings.weight");
  const auto* panels = static_cast<const float*>(packed.data);
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(panels[i * 16 + 5], embedding[5 * 24 + i]);
}

TEST(Conversion, FoldsWithTheGraphsEps) {
  ConversionFiles files;
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
  ConversionFiles files;
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
  ConversionFiles whole;
  whole.give_whole();
  ConversionFiles split;
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
  ConversionFiles files;
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
  ConversionFiles files;
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
  ConversionFiles files;
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
  const PackedMatrix stored = weights.packed("modulator.fc1.weight");
  EXPECT_NEAR(widen_bf16(static_cast<const uint16_t*>(stored.data)[0]), given,
              std::abs(given) * 0x1p-8);
}

TEST(Conversion, VerifiesItsOwnFile) {
  ConversionFiles files;
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

// As in the paper, whose modulator narrows 312 to 39, and as wide as the fusion model.
TEST(Conversion, ModulatorsOfAnyWidth) {
  for (const uint64_t width : {1u, 3u, 5u, 24u, 40u}) {
    Config config = tiny_config();
    config.modulator.width = width;
    ConversionFiles files;
    files.tensors = tiny_tensors(config);
    files.give_whole();
    const std::vector<uint8_t> bytes = files.convert();
    const Weights weights(WeightsFile::from_buffer({bytes.data(), bytes.size()}, "memory"));
    EXPECT_EQ(weights.config().modulator.width, width);
    EXPECT_EQ(weights.config().fusion.width, 24u);
    EXPECT_EQ(weights.packed("modulator.fc1.weight").outputs, width);
    EXPECT_EQ(weights.packed("modulator.fc2.weight").depth, width);
  }
}

// ---- Errors, all reported at once ----

TEST(ConversionErrors, AllMissingTensorsWithTheNearest) {
  ConversionFiles files;
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
  expect_has(error,
             "\n  modulator.fc2.weight [128, 5], the nearest is modulator.fc_2.weight [128, 5] in "
             "lightcap.safetensors");
  expect_has(
      error,
      "\n  head.branches.1.LayerNorm.bias [24], the nearest is head.branches.1.norm.bias [24]");
  expect_has(error, "\n  bert.encoder.layer.1.attention.self.key.weight [24, 24]");
  expect_has(error, "\n  image_encoder.layer1.1.bn2.running_var [4]");
  expect_lacks(error, "fc1");
}

TEST(ConversionErrors, AWholePartIsOneLine) {
  ConversionFiles files;
  files.tensors = [&] {
    TinyTensors rest;
    for (const auto& [name, tensor] : files.tensors) {
      if (!name.starts_with("detector.") && !name.starts_with("modulator.")) rest[name] = tensor;
    }
    return rest;
  }();
  const std::string error = files.error_of_whole();
  expect_has(error,
             "\n  modulator.*: all 4; lightcap.safetensors has none of them; add them to it, or "
             "--random SEED to make them up");
  expect_lacks(error, "give --lightcap");  // it was given
  expect_has(error, "\n  detector.*: all ");
  expect_has(error, "give --detector FILE");
  EXPECT_LT(error.size(), 300u);
}

TEST(ConversionErrors, AllWrongShapes) {
  ConversionFiles files;
  files.tensors["modulator.fc1.bias"] = {{25}, std::vector<float>(25)};
  files.tensors["visual_projection.dense.weight"] = {{24, 64}, std::vector<float>(24 * 64)};
  files.tensors["detector.model.24.m.2.weight"] = {{16, 14}, std::vector<float>(16 * 14)};
  files.tensors.erase("head.bias");
  const std::string error = files.error_of_whole();
  expect_has(error, "tensors that do not fit the model:");
  expect_has(error, "\n  modulator.fc1.bias in lightcap.safetensors is [25], expected [5]");
  expect_has(error,
             "\n  visual_projection.dense.weight in lightcap.safetensors is [24, 64], "
             "expected [24, 128]");
  expect_has(error,
             "\n  detector.model.24.m.2.weight in lightcap.safetensors is [16, 14], "
             "expected [16, 14, 1, 1]");
  expect_has(error, "missing tensors:\n  head.bias [33]");
}

TEST(ConversionErrors, SizesThatContradictSettings) {
  ConversionFiles files;
  files.options.config = files.folder / "config.json";
  write_text(files.options.config, R"({"fusion": {"heads": 5}})");
  files.give_whole();
  expect_has(files.error(), "config.json: fusion.heads 5 does not divide the width 24");
  write_text(files.options.config, R"({"fusion": {"max_concept_tokens": 60}})");
  expect_has(files.error(), "80 positions are needed, the position embedding has 61");
}

TEST(ConversionErrors, WordsThatDoNotCount) {
  ConversionFiles files;
  files.give_whole();
  write_text(files.options.vocabulary, tiny_vocabulary(32));
  EXPECT_EQ(files.error(), "vocab.txt: 32 tokens, the word embedding has 33 rows");
  write_text(files.options.vocabulary, tiny_vocabulary(33));
  write_text(files.options.labels, tiny_labels(8));
  EXPECT_EQ(files.error(), "labels.txt: 8 labels, concept_extractor.vocabulary has 7 rows");
}

TEST(ConversionErrors, NumbersThatAreNone) {
  ConversionFiles files;
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
  ConversionFiles files;
  files.tensors.at("detector.model.0.bn.running_var").values[2] = -1;
  expect_has(files.error_of_whole(),
             "the BatchNorm detector.model.0.bn of lightcap.safetensors cannot be folded: 1 of 4 "
             "channels");
}

TEST(ConversionErrors, WhatMustBeGiven) {
  ConversionFiles files;
  expect_has(files.error(ErrorCode::kUsage), "no checkpoint is given");
  files.give_whole();
  files.options.labels.clear();
  expect_has(files.error(ErrorCode::kUsage), "--concepts is missing");
  files.options.vocabulary.clear();
  expect_has(files.error(ErrorCode::kUsage), "--vocab is missing");
}

TEST(ConversionErrors, TextsLongerThanTheEngineTakes) {
  ConversionFiles files;
  files.give_whole();
  write_text(files.options.labels, tiny_labels(6) + std::string(1024, 'x') + "\n");
  EXPECT_NO_THROW(Conversion{files.options});
  write_text(files.options.labels, tiny_labels(6) + std::string(1025, 'x') + "\n");
  expect_has(files.error(), ": entry 7 has 1025 bytes, the limit is 1024");
}

TEST(ConversionErrors, ADetectorGivenAsBert) {
  ConversionFiles files;
  files.give(Role::kBert, with_prefix(files.tensors, "detector.", ""));
  expect_has(files.error(), "no BERT in it");
  expect_has(files.error(), "pass it with --detector");
}

TEST(ConversionNotes, TensorsWithoutAPlace) {
  ConversionFiles files;
  files.tensors["modulator.fc3.weight"] = {{1}, {1}};
  files.give_whole();
  const Conversion conversion(files.options);
  ASSERT_EQ(conversion.notes().size(), 1u);
  expect_has(conversion.notes()[0],
             "1 tensors have no place in the model and were left out: modulator.fc3.weight");
}

// ---- --random ----

TEST(ConversionRandom, FillsWhatNoFileNames) {
  ConversionFiles files;
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
  EXPECT_EQ(config.modulator.width, 3u) << "an eighth of the width";
  EXPECT_EQ(filled(conversion, "detector.model.24.m.0.weight"),
            files.tensors.at("detector.model.24.m.0.weight").values);
  std::vector<float> expected(24 * 24);
  fill_random(5, "head.branches.2.dense.weight", {.deviation = 1 / std::sqrt(24.0)}, expected);
  EXPECT_EQ(filled(conversion, "head.branches.2.dense.weight"), expected);
  const std::vector<float> biases = filled(conversion, "image_encoder.layer1.0.downsample.0.bias");
  EXPECT_EQ(biases, std::vector<float>(biases.size(), 0.0f)) << "a random BatchNorm is none";
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
  EXPECT_EQ(conversion.config().modulator.width, 39u);
  EXPECT_EQ(conversion.config().image_encoder.blocks, (std::array<uint64_t, 4>{3, 4, 6, 3}));
  EXPECT_GT(values, 44'000'000u);
  EXPECT_LT(values, 48'000'000u);
}

// ---- Size ----

// A few stored numbers can claim to be a tensor of any size.
TEST(Sizes, AModelOutOfProportionToItsFilesIsRefusedBeforeItIsWritten) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (int layer = 0; layer < 128; ++layer) {
    for (const char* part : {"query", "key"}) {
      const std::string name =
          "bert.encoder.layer." + std::to_string(layer) + ".attention.self." + part + ".weight";
      entries.emplace_back(text(name),
                           tensor(storage("FloatStorage", "0", 1), 0, {6000, 6000}, {0, 0}));
    }
  }
  entries.emplace_back(text("bert.embeddings.word_embeddings.weight"),
                       tensor(storage("FloatStorage", "0", 1), 0, {8, 6000}, {0, 0}));
  const TemporaryFolder folder;
  write_text(folder / "bomb.pt", torch_zip(dict(entries), {{"0", floats({1})}}));
  ConversionOptions options;
  options.random_seed = 1;
  options.checkpoints[static_cast<size_t>(Role::kBert)] = folder / "bomb.pt";
  const std::string error = error_of([&] { const Conversion conversion(options); });
  expect_has(error, "the model would take ");
  expect_has(error, "the limit for checkpoints of ");
}

// ---- Tensors in another form ----

TEST(StandIns, AreRefusedAlsoWhereOthersAreMadeUp) {
  ConversionFiles files;
  files.options.random_seed = 1;
  TinyTensors tensors = files.tensors;
  const TinyTensor weight = tensors.extract("modulator.fc1.weight").mapped();
  tensors["modulator.fc1.parametrizations.weight.original0"] = {
      {weight.shape[0], 1}, std::vector<float>(weight.shape[0])};
  tensors["modulator.fc1.parametrizations.weight.original1"] = weight;
  files.give(Role::kLightcap, tensors);
  const std::string error = files.error();
  expect_has(error,
             "modulator.fc1.weight in lightcap.safetensors "
             "(modulator.fc1.parametrizations.weight.original0) is split in two by "
             "weight_norm");
  expect_has(error, "remove_parametrizations");
  expect_lacks(error, "nearest");
}

TEST(Nearest, IsNeverAnotherModule) {
  ConversionFiles files;
  files.tensors["modulator.fc3.weight"] = files.tensors.extract("modulator.fc1.weight").mapped();
  files.tensors["other.fc2.weight"] = files.tensors.extract("modulator.fc2.weight").mapped();
  const std::string error = files.error_of_whole();
  expect_has(error, "modulator.fc1.weight [");
  expect_lacks(error, "nearest");
}

}  // namespace
}  // namespace lightcap::internal::testing
