#include "weights_converter/state_dict.h"

#include <algorithm>
#include <optional>
#include <set>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "weights_converter/checkpoint/module_names.h"

namespace lightcap::internal {
namespace {

// Wherever a part of the model is wrapped (`state_dict`, `model`, `module`, `visual` ...), these
// tensors of it end in these names; what stands before them is the wrapping.
constexpr std::string_view kEncoderAnchor = "layer1.0.conv1.weight";
constexpr std::string_view kEncoderStem = "conv3.weight";
constexpr std::string_view kDetectorAnchor = "model.0.conv.weight";
constexpr std::string_view kDetectorHead = "model.24.m.0.weight";
constexpr std::string_view kBertAnchor = "embeddings.word_embeddings.weight";
constexpr std::string_view kLightcapAnchors[] = {"concept_extractor.proj.0.weight",
                                                 "concept_extractor.vocabulary",
                                                 "modulator.fc1.weight",
                                                 "visual_projection.dense.weight",
                                                 "head.branches.0.dense.weight",
                                                 "head.bias",
                                                 "image_encoder.conv1.weight",
                                                 "detector.model.0.conv.weight",
                                                 "bert.embeddings.word_embeddings.weight"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "downsample.0.weight" -> "weight"
std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }

bool is_bookkeeping(std::string_view name) {
  const std::string_view part = last_part(name);
  return part == "num_batches_tracked" || part == "position_ids" || part == "anchor_grid";
}

// BERT ports of TensorFlow's time call LayerNorm's weight gamma and its bias beta.
std::string modern_name(std::string_view name) {
  for (const auto& [old_end, new_end] : {std::pair("LayerNorm.gamma", "LayerNorm.weight"),
                                         std::pair("LayerNorm.beta", "LayerNorm.bias")}) {
    if (name.ends_with(old_end)) {
      return std::string(name.substr(0, name.size() - std::string_view(old_end).size())) + new_end;
    }
  }
  return std::string(name);
}

// Each gives the schema's name of a tensor that stands under a part's root, or nothing for tensors
// that the part has no use for.
std::optional<std::string> encoder_name(std::string_view name) {
  const bool stem = (name.starts_with("conv") || name.starts_with("bn")) &&
                    name.find('.') != std::string_view::npos;
  const bool stage =
      name.starts_with("layer") && name.size() > 6 && is_digit(name[5]) && name[6] == '.';
  if (!stem && !stage) return std::nullopt;
  return "image_encoder." + std::string(name);
}

std::optional<std::string> detector_name(std::string_view name) {
  constexpr std::string_view kRoot = "model.";
  if (!name.starts_with(kRoot) || name.size() == kRoot.size() || !is_digit(name[kRoot.size()])) {
    return std::nullopt;
  }
  return "detector." + std::string(name);
}

std::optional<std::string> bert_name(std::string_view name) {
  if (!name.starts_with("embeddings.") && !name.starts_with("encoder.layer.")) return std::nullopt;
  return "bert." + modern_name(name);
}

std::optional<std::string> lightcap_name(std::string_view name) {
  const size_t dot = name.find('.');
  if (dot == name.npos) return std::nullopt;
  const std::string_view block = name.substr(0, dot), rest = name.substr(dot + 1);
  if (block == "image_encoder") return encoder_name(rest);
  if (block == "detector") return detector_name(rest);
  if (block == "bert") return bert_name(rest);
  for (const std::string_view own :
       {"concept_extractor", "modulator", "visual_projection", "head"}) {
    if (block == own) return modern_name(name);
  }
  return std::nullopt;
}

std::optional<std::string> schema_name(Role role, std::string_view name) {
  if (name.empty() || is_bookkeeping(name)) return std::nullopt;
  switch (role) {
    case Role::kImageEncoder:
      return encoder_name(name);
    case Role::kDetector:
      return detector_name(name);
    case Role::kBert:
      return bert_name(name);
    case Role::kLightcap:
      return lightcap_name(name);
  }
  return std::nullopt;
}

const char* role_noun(Role role) {
  switch (role) {
    case Role::kImageEncoder:
      return "CLIP ResNet image encoder";
    case Role::kDetector:
      return "YOLOv5 detector";
    case Role::kBert:
      return "BERT";
    case Role::kLightcap:
      return "part of a LightCap model";
  }
  return "";
}

const char* role_example(Role role) {
  switch (role) {
    case Role::kImageEncoder:
      return "visual.layer1.0.conv1.weight and visual.conv3.weight";
    case Role::kDetector:
      return "model.0.conv.weight and model.24.m.0.weight";
    case Role::kBert:
      return "bert.embeddings.word_embeddings.weight";
    case Role::kLightcap:
      return "modulator.fc1.weight or head.branches.0.dense.weight";
  }
  return "";
}

// All tensors' names, for many questions.
class Names {
 public:
  explicit Names(const std::vector<NamedTensor>& tensors) {
    for (const NamedTensor& tensor : tensors) names_.insert(tensor.name);
  }
  bool has(std::string_view prefix, std::string_view name) const {
    return names_.count(std::string(prefix) + std::string(name)) != 0;
  }
  bool any_contains(std::string_view text) const {
    return std::any_of(names_.begin(), names_.end(), [&](std::string_view name) {
      return name.find(text) != std::string_view::npos;
    });
  }
  // The prefixes of the names that end with `anchor`: with their dot, or empty.
  std::vector<std::string> roots_of(std::string_view anchor) const {
    std::vector<std::string> roots;
    for (const std::string_view name : names_) {
      if (!name.ends_with(anchor)) continue;
      const std::string_view root = name.substr(0, name.size() - anchor.size());
      if (root.empty() || root.back() == '.') roots.emplace_back(root);
    }
    return roots;
  }

 private:
  std::set<std::string, std::less<>> names_;
};

// Checkpoint::attributes by plain name.
using Attributes = std::map<std::string, const Attribute*>;

// The prefixes under which the role's tensors may be in the file.
std::set<std::string> find_roots(const Names& names, Role role) {
  std::set<std::string> roots;
  const auto add = [&](std::string_view anchor, std::string_view witness) {
    for (std::string& root : names.roots_of(anchor)) {
      if (witness.empty() || names.has(root, witness)) roots.insert(std::move(root));
    }
  };
  switch (role) {
    case Role::kImageEncoder:
      add(kEncoderAnchor, kEncoderStem);
      break;
    case Role::kDetector:
      add(kDetectorAnchor, kDetectorHead);
      break;
    case Role::kBert:
      add(kBertAnchor, "");
      break;
    case Role::kLightcap:
      for (const std::string_view anchor : kLightcapAnchors) add(anchor, "");
      break;
  }
  return roots;
}

// Averaged weights first, as Ultralytics does; then the least wrapped.
std::pair<bool, ptrdiff_t> preference(const std::string& root) {
  bool averaged = false;
  for (size_t begin = 0; begin < root.size();) {
    const size_t end = std::min(root.find('.', begin), root.size());
    const std::string_view part = std::string_view(root).substr(begin, end - begin);
    averaged = averaged || part == "ema" || part == "model_ema" || part == "ema_model" ||
               part == "ema_state_dict" || part == "state_dict_ema";
    begin = end + 1;
  }
  return {!averaged, std::count(root.begin(), root.end(), '.')};
}

constexpr size_t kMostShown = 80;

[[noreturn]] void fail(const Checkpoint& checkpoint, const std::string& what) {
  throw Error(ErrorCode::kCheckpoint, printable(checkpoint.path) + ": " + what);
}

std::string guess_contents(const Checkpoint& checkpoint, const Names& names,
                           const std::set<Role>& given);

// The roots of the role, the one to take first.
std::vector<std::string> sorted_roots(const Checkpoint& checkpoint, const Names& names,
                                      const StateDictQuery& query) {
  const std::set<std::string> roots = find_roots(names, query.role);
  // A path that the user named is not a copy among others.
  const std::string exact = query.inside == "." ? "" : query.inside + ".";
  if (!query.inside.empty() && roots.count(exact) != 0) return {exact};
  if (roots.empty()) {
    const std::string where =
        query.inside.empty() ? "in it" : "at '" + printable(query.inside, kMostShown) + "' in it";
    fail(checkpoint, std::string("no ") + role_noun(query.role) + " " + where +
                         ": expected tensors named like " + role_example(query.role) +
                         "; it holds " + guess_contents(checkpoint, names, query.given));
  }
  using Preferred = std::pair<std::pair<bool, ptrdiff_t>, std::string>;
  std::vector<Preferred> preferred;
  preferred.reserve(roots.size());
  for (const std::string& root : roots) preferred.emplace_back(preference(root), root);
  std::stable_sort(preferred.begin(), preferred.end(),
                   [](const Preferred& a, const Preferred& b) { return a.first < b.first; });
  std::vector<std::string> sorted;
  sorted.reserve(preferred.size());
  for (Preferred& one : preferred) sorted.push_back(std::move(one.second));
  // LightCap's blocks may be under the same root or one of them inside another's name; several
  // whole models are a question only the user can answer.
  if (sorted.size() > 1 && preference(sorted[0]) == preference(sorted[1])) {
    const std::string path = sorted[0].substr(0, sorted[0].empty() ? 0 : sorted[0].size() - 1);
    fail(checkpoint,
         std::string("it holds more than one ") + role_noun(query.role) + ", at '" +
             printable(sorted[0], kMostShown) + "' and at '" + printable(sorted[1], kMostShown) +
             "'; choose one: " + role_option(query.role) + " " + printable(checkpoint.path) + ":" +
             printable(path.empty() ? "PATH" : path, kMostShown));
  }
  return sorted;
}

// True if `name` is `path` or below it.
bool is_inside(std::string_view name, std::string_view path) {
  return name.starts_with(path) && (name.size() == path.size() || name[path.size()] == '.');
}

// The places that a user could have meant: where the role's part of a model is.
std::string known_places(const std::vector<NamedTensor>& tensors, Role role) {
  std::string text;
  size_t count = 0;
  constexpr size_t kShown = 8;
  for (const std::string& root : find_roots(Names(tensors), role)) {
    if (root.empty()) continue;
    if (++count > kShown) return text + " ...";
    text += (text.empty() ? "'" : ", '") +
            printable(std::string_view(root).substr(0, root.size() - 1), kMostShown) + "'";
  }
  return text;
}

// Only what is inside of the user's path, which may be written with or without wrappers.
void keep_inside(const Checkpoint& checkpoint, const StateDictQuery& query,
                 std::vector<NamedTensor>& tensors) {
  const std::string& path = query.inside;
  std::vector<NamedTensor> kept;
  for (const NamedTensor& tensor : tensors) {
    if (is_inside(tensor.name, path) || is_inside(tensor.tensor->name, path)) {
      kept.push_back(tensor);
    }
  }
  if (kept.empty()) {
    const std::string places = known_places(tensors, query.role);
    fail(checkpoint, "it has nothing at '" + printable(path, kMostShown) + "'" +
                         (places.empty() ? "" : "; there is one at " + places));
  }
  tensors = std::move(kept);
}

// YOLOv5's detection head has three convolutions of 3 x (5 + classes) outputs, and no more. Others
// have the same modules before it, so that their outputs would be taken for classes' scores.
void check_detector_head(const Checkpoint& checkpoint, const std::vector<NamedTensor>& tensors,
                         const Attributes& attributes, const std::string& root) {
  const std::string head = root + "model.24.";
  for (const NamedTensor& tensor : tensors) {
    if (!tensor.name.starts_with(head)) continue;
    const std::string_view rest = std::string_view(tensor.name).substr(head.size());
    const bool known = rest.starts_with("m.") || rest == "anchors" || rest == "anchor_grid" ||
                       rest == "stride" || rest.starts_with("grid");
    if (known) continue;
    const bool masks = rest.starts_with("proto.");
    fail(checkpoint, std::string("a YOLOv5 ") +
                         (masks ? "for segmentation" : "with another head than the detector's") +
                         ", which is not supported: expected three convolutions of "
                         "3 x (5 + classes) outputs in model.24, found " +
                         printable(tensor.tensor->name, kMostShown) +
                         (masks ? "; use the detector of the same size" : ""));
  }
  const auto attribute = [&](const char* name) -> double {
    const auto found = attributes.find(head + name);
    const bool single = found != attributes.end() && found->second->numbers.size() == 1;
    return single ? found->second->numbers[0] : -1;
  };
  const double outputs = attribute("no"), classes = attribute("nc");
  if (outputs >= 0 && classes >= 0 && outputs != classes + 5) {
    fail(checkpoint,
         "a YOLOv5 with another head than the detector's, which is not supported: its "
         "model.24 has " +
             std::to_string(static_cast<int64_t>(outputs)) + " outputs an anchor, expected 5 + " +
             std::to_string(static_cast<int64_t>(classes)) + " classes");
  }
}

// A guess from the tensors' names what model the file holds, for messages.
std::string guess_contents(const Checkpoint& checkpoint, const Names& names,
                           const std::set<Role>& given) {
  const auto found = [&](Role role) { return !find_roots(names, role).empty(); };
  const auto ends = [&](std::string_view anchor) { return !names.roots_of(anchor).empty(); };
  const auto use = [&](const char* what, Role role) {
    return std::string(what) + (given.count(role) != 0 ? ", which is for " : ": pass it with ") +
           role_option(role);
  };
  if (checkpoint.tensors.empty() && !checkpoint.numpy_arrays.empty()) {
    return "NumPy arrays instead of tensors; save them as tensors (torch.from_numpy)";
  }
  const bool quantised = std::any_of(
      checkpoint.attributes.begin(), checkpoint.attributes.end(), [](const auto& attribute) {
        const std::vector<std::string>& texts = attribute.second.texts;
        return attribute.first.ends_with("__class__") && !texts.empty() &&
               texts[0].find(".quantized.") != std::string::npos;
      });
  if (checkpoint.tensors.empty() && quantised) {
    return "quantised modules; save the float model's state_dict(), from before quantisation";
  }
  if (checkpoint.tensors.empty()) return "no tensors at all";
  if (names.any_contains("flat_param")) {
    return "FSDP's flattened parameters; save the full state dict "
           "(StateDictType.FULL_STATE_DICT)";
  }
  if (ends("modulator.fc1.weight") || ends("head.branches.0.dense.weight")) {
    return use("a LightCap model", Role::kLightcap);
  }
  if (found(Role::kImageEncoder)) return use("a CLIP ResNet", Role::kImageEncoder);
  if (found(Role::kDetector)) return use("a YOLOv5 detector", Role::kDetector);
  if (ends("model.0.conv.conv.weight")) {
    return "a YOLOv5 from before release 6.0 (with a Focus layer), expected one of 6.0 to 7.0";
  }
  if (ends("model.33.m.0.weight"))
    return "a YOLOv5 P6 with four scales, expected a yolov5n of three";
  if (ends("dfl.conv.weight")) {
    return "a YOLO of another family than YOLOv5 6.0 to 7.0 (YOLOv8 or later: its head has dfl), "
           "which is not supported";
  }
  if (ends("model.9.linear.weight")) {
    return "a YOLOv5 that classifies whole pictures, expected a detector";
  }
  if (ends(kDetectorAnchor)) {
    return "a YOLO of another family than YOLOv5 6.0 to 7.0 (such as YOLOv8), which is not "
           "supported";
  }
  if (found(Role::kBert)) return use("a BERT", Role::kBert);
  if (found(Role::kLightcap)) return use("parts of a LightCap model", Role::kLightcap);
  if (names.any_contains("visual.transformer.resblocks.")) {
    return "a CLIP whose image encoder is a transformer (ViT), expected one of the ResNets (RN50)";
  }
  if (ends(kEncoderAnchor)) {
    return "a ResNet with torchvision's names, not CLIP's (which has conv1, conv2 and conv3 in its "
           "stem)";
  }
  return std::to_string(checkpoint.tensors.size()) +
         " tensors of a model that is not known, the first is '" +
         printable(checkpoint.tensors[0].name, kMostShown) + "'";
}

void add_batch_norms(const Attributes& attributes, Role role, const std::string& root,
                     StateDict& result) {
  constexpr std::string_view kEps = ".eps", kWeight = ".weight";
  for (auto it = attributes.lower_bound(root); it != attributes.end(); ++it) {
    const std::string_view key = it->first;
    if (!key.starts_with(root)) break;
    if (!key.ends_with(kEps) || it->second->numbers.size() != 1) continue;
    const std::string module(key.substr(0, key.size() - kEps.size()));
    const auto found = attributes.find(module + ".__class__");
    if (found == attributes.end() || found->second->texts.empty() ||
        found->second->texts[0].find("BatchNorm") == std::string::npos) {
      continue;
    }
    if (module.size() < root.size()) continue;
    const auto tensor = schema_name(role, module.substr(root.size()) + std::string(kWeight));
    if (tensor) {
      result.batch_norm_eps[tensor->substr(0, tensor->size() - kWeight.size())] =
          it->second->numbers[0];
    }
  }
}

void add_strides(const Checkpoint& checkpoint, const Unwrapper& unwrap, const std::string& root,
                 StateDict& result) {
  for (const CheckpointTensor& tensor : checkpoint.attribute_tensors) {
    const std::string name = unwrap(tensor.name);
    if (name != root + "stride" && name != root + "model.24.stride") continue;
    const std::vector<float> values = checkpoint.read_as_f32(tensor);
    result.strides.assign(values.begin(), values.end());
  }
}

}  // namespace

const char* role_option(Role role) {
  switch (role) {
    case Role::kImageEncoder:
      return "--image-encoder";
    case Role::kDetector:
      return "--detector";
    case Role::kBert:
      return "--bert";
    case Role::kLightcap:
      return "--lightcap";
  }
  return "";
}

StateDict find_state_dict(const Checkpoint& checkpoint, const StateDictQuery& query) {
  StateDict result;
  const Unwrapper unwrap(checkpoint);
  std::vector<NamedTensor> tensors = plain_names(checkpoint, unwrap, result.stand_ins);
  if (!query.inside.empty() && query.inside != ".") keep_inside(checkpoint, query, tensors);
  const std::vector<std::string> roots = sorted_roots(checkpoint, Names(tensors), query);
  const std::string& root = roots[0];
  const auto original = [&](const std::string& plain) {
    for (const NamedTensor& tensor : tensors) {
      if (tensor.name.starts_with(plain)) return original_root(tensor.tensor->name, plain);
    }
    return std::string();
  };
  result.found_at = original(root);
  for (size_t i = 1; i < roots.size(); ++i) result.others.push_back(original(roots[i]));
  for (const NamedTensor& tensor : tensors) {
    if (!tensor.name.starts_with(root)) continue;
    const auto name = schema_name(query.role, std::string_view(tensor.name).substr(root.size()));
    if (!name) continue;
    if (!result.tensors.emplace(*name, tensor.tensor).second) {
      fail(checkpoint, "two tensors are called '" + printable(*name, kMostShown) + "'");
    }
  }
  Attributes attributes;
  for (const auto& [name, value] : checkpoint.attributes) attributes[unwrap(name)] = &value;
  add_batch_norms(attributes, query.role, root, result);
  std::string detector = root;
  if (query.role == Role::kLightcap) detector += "detector.";
  if (query.role == Role::kDetector || query.role == Role::kLightcap) {
    check_detector_head(checkpoint, tensors, attributes, detector);
    add_strides(checkpoint, unwrap, detector, result);
  }
  return result;
}

}  // namespace lightcap::internal
