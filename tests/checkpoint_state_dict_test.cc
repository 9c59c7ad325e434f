// Finding a part of the model in whatever a checkpoint wraps it.
#include <gtest/gtest.h>

#include "engine/runtime/error.h"
#include "tests/checkpoint_files.h"
#include "weights_converter/state_dict.h"

namespace lightcap::internal::testing {
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

// BatchNorm's eps and the strides, which only whole modules know.
TEST(StateDict, ModulesKnowMore) {
  const std::string file = yolo_module();
  const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "file.pt");
  const StateDict state = find_state_dict(checkpoint, Role::kDetector);
  EXPECT_EQ(state.found_at, "model");
  EXPECT_EQ(state.batch_norm_eps, (std::map<std::string, double>{{"detector.model.0.bn", 0.001}}));
  EXPECT_EQ(state.strides, (std::vector<double>{8, 16, 32}));
  EXPECT_EQ(state.tensors.size(), 5u);
}

// ---- Names that PyTorch's tools change ----

TEST(StateDict, WrappersAreTakenOffWhereverTheyAre) {
  for (const char* wrapper :
       {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module.",
        "_fsdp_wrapped_module._checkpoint_wrapped_module.", "module._orig_mod."}) {
    const std::string w = wrapper;
    const Found bert({w + "bert." + w + "embeddings.word_embeddings.weight",
                      "bert.encoder.layer.0." + w + "attention.self.query.weight",
                      "bert.encoder.layer.1.attention." + w + "self.query.weight"},
                     Role::kBert);
    EXPECT_EQ(bert.names(), (Names{"bert.embeddings.word_embeddings.weight",
                                   "bert.encoder.layer.0.attention.self.query.weight",
                                   "bert.encoder.layer.1.attention.self.query.weight"}))
        << wrapper;
    const Found whole(
        {"image_encoder." + w + "conv1.weight", "modulator." + w + "fc1.weight", w + "head.bias"},
        Role::kLightcap);
    EXPECT_EQ(whole.names(),
              (Names{"head.bias", "image_encoder.conv1.weight", "modulator.fc1.weight"}))
        << wrapper;
  }
}

TEST(StateDict, ACopyUnderModuleIsAnotherCopy) {
  Names both = kBert;
  for (const std::string& name : with_prefix("module.", kBert)) both.push_back(name);
  const Found found(both, Role::kBert);
  EXPECT_EQ(found.state().found_at, "");
  EXPECT_EQ(found.state().others, Names{"module"});
}

TEST(StateDict, EpsIsFoundBehindWrappers) {
  // A module whose only child is the detector, as torch.compile and data parallelism make them.
  const std::string norm = module(
      global("torch.nn.modules.batchnorm", "BatchNorm2d"),
      dict({{text("weight"), tensor(storage("FloatStorage", "0", 2), 0, {2}, {1})}}), dict({}),
      dict({}), {{text("eps"), "G" + std::string("\x3f\x50\x62\x4d\xd2\xf1\xa9\xfc", 8)}});
  const auto holding = [](const char* name, const std::string& child) {
    return module(global("torch.nn.modules.container", "Sequential"), dict({}), dict({}),
                  dict({{text(name), child}}), {});
  };
  const auto conv = [](const std::vector<std::pair<std::string, std::string>>& parameters) {
    return module(global("torch.nn.modules.conv", "Conv2d"), dict(parameters), dict({}), dict({}),
                  {});
  };
  const std::string weight = tensor(storage("FloatStorage", "0", 2), 0, {2}, {1});
  const std::string block =
      module(global("models.common", "Conv"), dict({}), dict({}),
             dict({{text("conv"), conv({{text("weight"), weight}})}, {text("bn"), norm}}), {});
  const std::string layers =
      module(global("torch.nn.modules.container", "Sequential"), dict({}), dict({}),
             dict({{text("0"), block},
                   {text("24"), holding("m", holding("0", conv({{text("weight"), weight}})))}}),
             {});
  const std::string file =
      torch_zip(dict({{text("model"), holding("_orig_mod", holding("model", layers))}}),
                {{"0", floats({1, 2})}});
  const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "file.pt");
  const StateDict state = find_state_dict(checkpoint, Role::kDetector);
  EXPECT_EQ(state.found_at, "model._orig_mod");
  EXPECT_EQ(state.batch_norm_eps, (std::map<std::string, double>{{"detector.model.0.bn", 0.001}}));
}

// Tensors that a file holds in another form are found, with words on how to get at them.
TEST(StateDict, TensorsInAnotherFormAreNamed) {
  const struct {
    std::vector<std::string> ends;
    const char* words;
  } cases[] = {
      {{"parametrizations.weight.original0", "parametrizations.weight.original1"}, "weight_norm"},
      {{"parametrizations.weight.original", "parametrizations.weight.0._u"}, "a parametrization"},
      {{"weight_g", "weight_v"}, "remove_weight_norm"},
      {{"weight_orig", "weight_u"}, "remove_spectral_norm"},
      {{"weight_orig", "weight_mask"}, "prune.remove"},
      {{"scale", "zero_point", "_packed_params.dtype"}, "quantised"},
  };
  for (const auto& c : cases) {
    Names names = kBert;
    for (const std::string& end : c.ends) names.push_back("encoder.layer.0.output.dense." + end);
    const Found found(names, Role::kBert);
    const auto stand_in = found.state().tensors.find("bert.encoder.layer.0.output.dense.weight");
    ASSERT_NE(stand_in, found.state().tensors.end()) << c.ends[0];
    EXPECT_NE(stand_in->second->refusal.find(c.words), std::string::npos)
        << stand_in->second->refusal;
  }
}

TEST(StateDict, NumPyArraysAreNamed) {
  const std::string array = call(global("numpy._core.multiarray", "_reconstruct"),
                                 {global("numpy", "ndarray"), integers({0}), text("b")});
  const std::string file =
      torch_zip(dict({{text("bert.embeddings.word_embeddings.weight"), array}}), {});
  const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "file.pt");
  EXPECT_TRUE(checkpoint.tensors.empty());
  const StateDict state = find_state_dict(checkpoint, Role::kBert);
  EXPECT_NE(state.tensors.at("bert.embeddings.word_embeddings.weight")->refusal.find("NumPy"),
            std::string::npos);
  EXPECT_EQ(error_of({}, Role::kBert).find("NumPy"), std::string::npos);
}

TEST(StateDict, HeadsOtherThanTheDetectorsAreRefusedByName) {
  for (const auto& [name, words] :
       {std::pair("model.24.proto.cv1.conv.weight", "for segmentation"),
        std::pair("model.24.keypoints.weight", "another head"),
        std::pair("model.24.proto.cv1.conv.weight", "model.24.proto.cv1.conv.weight")}) {
    Names names = kDetector;
    names.push_back(name);
    const std::string error = error_of(names, Role::kDetector);
    EXPECT_NE(error.find(words), std::string::npos) << error;
    Names whole = with_prefix("detector.", names);
    whole.push_back("head.bias");
    EXPECT_NE(error_of(whole, Role::kLightcap).find(words), std::string::npos);
  }
  EXPECT_NE(error_of({"model.0.conv.weight", "model.22.dfl.conv.weight"}, Role::kDetector)
                .find("YOLOv8 or later"),
            std::string::npos);
}

TEST(StateDict, HintsDoNotAskForWhatWasGiven) {
  const std::string file = Found::file_of(kBert);
  const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "file.pt");
  try {
    find_state_dict(checkpoint, {Role::kDetector, "", {Role::kDetector, Role::kBert}});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("it holds a BERT, which is for --bert"), std::string::npos) << text;
    EXPECT_EQ(text.find("pass it"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
