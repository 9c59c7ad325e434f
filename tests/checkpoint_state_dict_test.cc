// Finding a part of the model in whatever a checkpoint wraps it.
#include <gtest/gtest.h>

#include "engine/runtime/error.h"
#include "tests/checkpoint_files.h"
#include "weights_converter/checkpoint/state_dict.h"

namespace lightcap::testing {
namespace {

using Names = std::vector<std::string>;

// A file of small tensors with these names, and what a role finds in it.
class Found {
 public:
  Found(const Names& names, Role role) : file_(file_of(names)) {
    checkpoint_ = read_checkpoint(as_bytes(file_), "file.pt");
    state_ = find_state_dict(checkpoint_, role);
  }
  Names names() const {
    Names result;
    for (const auto& [name, tensor] : state_.tensors) result.push_back(name);
    return result;
  }
  const StateDict& state() const { return state_; }

  static std::string file_of(const Names& names) {
    std::vector<std::pair<std::string, std::vector<int64_t>>> tensors;
    for (const std::string& name : names) tensors.emplace_back(name, std::vector<int64_t>{1});
    return torch_zip_of(tensors);
  }

 private:
  std::string file_;
  Checkpoint checkpoint_;
  StateDict state_;
};

std::string error_of(const Names& names, Role role) {
  try {
    Found(names, role);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
    return error.what();
  }
}

Names with_prefix(const std::string& prefix, Names names) {
  for (std::string& name : names) name = prefix + name;
  return names;
}

const Names kEncoder = {"bn1.running_var", "conv1.weight", "conv3.weight", "layer1.0.conv1.weight",
                        "layer1.0.downsample.0.weight"};
const Names kDetector = {"model.0.bn.weight", "model.0.conv.weight", "model.24.anchors",
                         "model.24.m.0.weight"};
const Names kBert = {"embeddings.LayerNorm.bias", "embeddings.LayerNorm.weight",
                     "embeddings.word_embeddings.weight",
                     "encoder.layer.0.attention.self.query.weight"};
const Names kLightcap = {"concept_extractor.proj.0.weight", "head.bias",
                         "head.branches.0.dense.weight", "modulator.fc1.weight",
                         "visual_projection.LayerNorm.weight"};

TEST(StateDict, WrappingIsTakenOff) {
  for (const char* prefix : {"", "visual.", "module.visual.", "state_dict.module.", "model.",
                             "model_state_dict.net.", "image_encoder."}) {
    const Found found(with_prefix(prefix, kEncoder), Role::kImageEncoder);
    EXPECT_EQ(found.names(), with_prefix("image_encoder.", kEncoder)) << prefix;
  }
  for (const char* prefix : {"", "model.", "module.", "ema.", "state_dict.model.", "detector."}) {
    const Found found(with_prefix(prefix, kDetector), Role::kDetector);
    EXPECT_EQ(found.names(), with_prefix("detector.", kDetector)) << prefix;
  }
  for (const char* prefix : {"", "bert.", "module.bert.", "state_dict.model.bert."}) {
    const Found found(with_prefix(prefix, kBert), Role::kBert);
    EXPECT_EQ(found.names(), with_prefix("bert.", kBert)) << prefix;
  }
  for (const char* prefix : {"", "module.", "net.", "model_state_dict."}) {
    const Found found(with_prefix(prefix, kLightcap), Role::kLightcap);
    EXPECT_EQ(found.names(), kLightcap) << prefix;
    EXPECT_EQ(found.state().found_at + (prefix[0] == 0 ? "" : "."), prefix);
  }
}

TEST(StateDict, WhatThePartDoesNotUseIsLeftOut) {
  Names clip = with_prefix("visual.", kEncoder);
  for (const char* name : {"visual.attnpool.q_proj.weight", "visual.bn1.num_batches_tracked",
                           "transformer.resblocks.0.ln_1.weight", "text_projection", "logit_scale",
                           "input_resolution", "optimizer.state.0.exp_avg"}) {
    clip.push_back(name);
  }
  EXPECT_EQ(Found(clip, Role::kImageEncoder).names(), with_prefix("image_encoder.", kEncoder));
  Names bert = with_prefix("bert.", kBert);
  for (const char* name : {"bert.pooler.dense.weight", "cls.predictions.bias", "fit_dense.weight",
                           "bert.embeddings.position_ids"}) {
    bert.push_back(name);
  }
  EXPECT_EQ(Found(bert, Role::kBert).names(), with_prefix("bert.", kBert));
}

TEST(StateDict, OldLayerNormNamesAreTranslated) {
  const Found found(
      {"bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.beta",
       "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.LayerNorm.gamma"},
      Role::kBert);
  EXPECT_EQ(found.names(),
            (Names{"bert.embeddings.LayerNorm.bias", "bert.embeddings.LayerNorm.weight",
                   "bert.embeddings.word_embeddings.weight",
                   "bert.encoder.layer.0.output.LayerNorm.weight"}));
}

TEST(StateDict, AWholeModelGivesEachPart) {
  Names whole = kLightcap, expected = kLightcap;
  for (const auto& [prefix, part] :
       {std::pair("image_encoder.", kEncoder), std::pair("detector.", kDetector),
        std::pair("bert.", kBert)}) {
    for (const std::string& name : with_prefix(prefix, part)) {
      whole.push_back(name);
      expected.push_back(name);
    }
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Found(whole, Role::kLightcap).names(), expected);
  EXPECT_EQ(Found(whole, Role::kDetector).names(), with_prefix("detector.", kDetector));
}

TEST(StateDict, AveragedWeightsArePreferred) {
  Names both = with_prefix("model.", kDetector);
  for (const std::string& name : with_prefix("ema.", kDetector)) both.push_back(name);
  EXPECT_EQ(Found(both, Role::kDetector).state().found_at, "ema");
}

TEST(StateDict, TwoModelsAreAQuestion) {
  Names both = with_prefix("student.", kBert);
  for (const std::string& name : with_prefix("teacher.", kBert)) both.push_back(name);
  const std::string error = error_of(both, Role::kBert);
  EXPECT_NE(error.find("more than one BERT, at 'student.' and at 'teacher.'"), std::string::npos)
      << error;
}

// A file given for the wrong part is named for what it is, with the way out.
TEST(StateDict, MixedUpFilesAreNamed) {
  const struct {
    Names names;
    Role role;
    const char* words;
  } cases[] = {
      {kDetector, Role::kBert, "no BERT in it"},
      {kDetector, Role::kBert, "it holds a YOLOv5 detector: pass it with --detector"},
      {kDetector, Role::kImageEncoder, "it holds a YOLOv5 detector: pass it with --detector"},
      {kEncoder, Role::kDetector, "it holds a CLIP ResNet: pass it with --image-encoder"},
      {kBert, Role::kImageEncoder, "it holds a BERT: pass it with --bert"},
      {kLightcap, Role::kBert, "it holds a LightCap model: pass it with --lightcap"},
      {kDetector, Role::kLightcap, "pass it with --detector"},
      {{"conv1.weight", "layer1.0.conv1.weight", "fc.weight"},
       Role::kImageEncoder,
       "torchvision's names"},
      {{"visual.transformer.resblocks.0.ln_1.weight"},
       Role::kImageEncoder,
       "(ViT), expected one of the ResNets"},
      {{"model.0.conv.conv.weight", "model.24.m.0.weight"}, Role::kDetector, "before release 6.0"},
      {{"model.0.conv.weight", "model.22.cv2.0.0.conv.weight"}, Role::kDetector, "another family"},
      {{"model.0.conv.weight", "model.33.m.0.weight"}, Role::kDetector, "YOLOv5 P6"},
      {{"wte.weight", "wpe.weight"},
       Role::kBert,
       "2 tensors of a model that is not known, the first is 'wte.weight'"},
      {{}, Role::kBert, "no tensors at all"},
  };
  for (const auto& c : cases) {
    const std::string error = error_of(c.names, c.role);
    EXPECT_NE(error.find(c.words), std::string::npos) << c.words << "\nthe error is: " << error;
    EXPECT_EQ(error.find("file.pt: no "), 0u) << error;
  }
}

// BatchNorm's eps, class names and strides, which only whole modules know.
TEST(StateDict, ModulesKnowMore) {
  const std::string file = yolo_module();
  const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "file.pt");
  const StateDict state = find_state_dict(checkpoint, Role::kDetector);
  EXPECT_EQ(state.found_at, "model");
  EXPECT_EQ(state.batch_norm_eps, (std::map<std::string, double>{{"detector.model.0.bn", 0.001}}));
  EXPECT_EQ(state.class_names, (Names{"cat", "dog"}));
  EXPECT_EQ(state.strides, (std::vector<double>{8, 16, 32}));
  EXPECT_EQ(state.tensors.size(), 5u);
}

}  // namespace
}  // namespace lightcap::testing
