#include "weights_converter/checkpoint/module_names.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

namespace lightcap::internal {
namespace {

using NameSet = std::set<std::string, std::less<>>;

constexpr std::string_view kDataParallel = "module";
constexpr std::string_view kWrappers[] = {
    "_orig_mod",                   // torch.compile
    "_fsdp_wrapped_module",        // FullyShardedDataParallel
    "_fpw_module",                 // the same before PyTorch 1.13
    "_checkpoint_wrapped_module",  // activation checkpointing
    "_forward_module",             // Lightning Fabric
};

bool is_wrapper(std::string_view part) {
  return std::find(std::begin(kWrappers), std::end(kWrappers), part) != std::end(kWrappers);
}

// Calls visit(part, where the part and its dot end) for each part of a dotted name.
template <class Visit>
void for_each_part(std::string_view name, Visit&& visit) {
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    if (!visit(name.substr(begin, end - begin), std::min(end + 1, name.size()))) return;
    begin = end + 1;
  }
}

std::string unwrapped(std::string_view name, bool data_parallel) {
  std::string result;
  for_each_part(name, [&](std::string_view part, size_t) {
    if (!is_wrapper(part) && !(data_parallel && part == kDataParallel)) {
      if (!result.empty()) result += '.';
      result += part;
    }
    return true;
  });
  return result;
}

bool has(const NameSet& names, const std::string& name) { return names.count(name) != 0; }

// A tensor that a file holds taken apart: its own name, and what became of it.
struct TakenApart {
  std::string name;
  std::string refusal;
};

// "m.parametrizations.weight.original0" -> m.weight
std::optional<TakenApart> parametrized(const std::string& name, const NameSet& names) {
  constexpr std::string_view kPart = "parametrizations.";
  const size_t at = name.rfind(kPart);
  if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) return std::nullopt;
  const std::string rest = name.substr(at + kPart.size());
  const size_t dot = rest.find('.');
  if (dot == std::string::npos) return std::nullopt;
  const std::string parameter = rest.substr(0, dot), leaf = rest.substr(dot + 1);
  if (leaf != "original" && leaf != "original0") return std::nullopt;
  const bool two = leaf == "original0" && has(names, name.substr(0, name.size() - 1) + "1");
  return TakenApart{name.substr(0, at) + parameter,
                    std::string(two ? "split in two by weight_norm or another parametrization"
                                    : "computed by a parametrization") +
                        "; call torch.nn.utils.parametrize.remove_parametrizations on its module, "
                        "then save again"};
}

// Hooks of torch.nn.utils from before parametrizations keep `weight_g` and the like.
std::optional<TakenApart> hooked(const std::string& name, const NameSet& names) {
  const struct {
    std::string_view end, other;
    const char* refusal;
  } kinds[] = {
      {"_g", "_v",
       "split in two by weight_norm; call torch.nn.utils.remove_weight_norm on its module, then "
       "save again"},
      {"_orig", "_mask",
       "pruned, its mask not applied; call torch.nn.utils.prune.remove on its module, then save "
       "again"},
      {"_orig", "_u",
       "not yet divided by spectral_norm; call torch.nn.utils.remove_spectral_norm on its module, "
       "then save again"},
  };
  for (const auto& kind : kinds) {
    if (!name.ends_with(kind.end)) continue;
    const std::string base = name.substr(0, name.size() - kind.end.size());
    if (has(names, base + std::string(kind.other))) return TakenApart{base, kind.refusal};
  }
  return std::nullopt;
}

constexpr char kQuantised[] =
    "dynamically quantised; save the float model's state_dict(), from before quantize_dynamic";

// The module of "m._packed_params.dtype", or nothing.
std::optional<std::string> packed_module(const std::string& name) {
  constexpr std::string_view kPart = "_packed_params.";
  const size_t at = name.find(kPart);
  if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) return std::nullopt;
  return name.substr(0, at);
}

// Adds stand-ins to the plain names of a checkpoint.
class StandIns {
 public:
  StandIns(std::vector<NamedTensor>& tensors, std::list<CheckpointTensor>& made)
      : tensors_(tensors), made_(made) {
    for (const NamedTensor& tensor : tensors) names_.insert(tensor.name);
  }

  void add(std::string name, std::string original, std::string refusal) {
    if (!names_.insert(name).second) return;
    CheckpointTensor tensor;
    tensor.name = std::move(original);
    tensor.refusal = std::move(refusal);
    made_.push_back(std::move(tensor));
    tensors_.push_back({std::move(name), &made_.back()});
  }

  void add_taken_apart() {
    const size_t count = tensors_.size();
    for (size_t i = 0; i < count; ++i) {
      const std::string name = tensors_[i].name, original = tensors_[i].tensor->name;
      auto found = parametrized(name, names_);
      if (!found) found = hooked(name, names_);
      if (found) add(std::move(found->name), original, std::move(found->refusal));
      if (const auto module = packed_module(name)) add_quantised(*module, original);
    }
  }

  // `module` ends with a dot or is empty.
  void add_quantised(const std::string& module, const std::string& original) {
    add(module + "weight", original, kQuantised);
    add(module + "bias", original, kQuantised);
  }

 private:
  std::vector<NamedTensor>& tensors_;
  std::list<CheckpointTensor>& made_;
  NameSet names_;
};

}  // namespace

// `module` is taken off unless that makes two tensors of one name: then the file holds a copy with
// it and one without, and which one is meant is not for us to say.
Unwrapper::Unwrapper(const Checkpoint& checkpoint) : data_parallel_(true) {
  NameSet names;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    data_parallel_ = data_parallel_ && names.insert(unwrapped(tensor.name, true)).second;
  }
}

std::string Unwrapper::operator()(std::string_view name) const {
  return unwrapped(name, data_parallel_);
}

std::vector<NamedTensor> plain_names(const Checkpoint& checkpoint, const Unwrapper& unwrap,
                                     std::list<CheckpointTensor>& stand_ins) {
  std::vector<NamedTensor> result;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    result.push_back({unwrap(tensor.name), &tensor});
  }
  StandIns more(result, stand_ins);
  more.add_taken_apart();
  for (const std::string& name : checkpoint.numpy_arrays) {
    more.add(unwrap(name), name, "a NumPy array; save it as a tensor (torch.from_numpy)");
  }
  constexpr std::string_view kClass = ".__class__";
  for (const auto& [key, value] : checkpoint.attributes) {
    if (!key.ends_with(kClass) || value.texts.empty()) continue;
    const std::string& type = value.texts[0];
    if (type.find(".quantized.") == std::string::npos || !type.ends_with(".Linear")) continue;
    const std::string module = key.substr(0, key.size() - kClass.size());
    more.add_quantised(unwrap(module) + ".", module);
  }
  return result;
}

std::string original_root(std::string_view name, std::string_view root) {
  size_t end = 0;
  std::string plain;
  for_each_part(name, [&](std::string_view part, size_t part_end) {
    const bool inside = plain.size() < root.size();
    if (!inside && !is_wrapper(part) && part != kDataParallel) return false;
    const bool counts = inside && root.substr(plain.size()).starts_with(std::string(part) + ".");
    if (counts) plain += std::string(part) + ".";
    end = part_end;
    return true;
  });
  std::string_view original = name.substr(0, end);
  if (original.ends_with('.')) original.remove_suffix(1);
  return std::string(original);
}

}  // namespace lightcap::internal
