#include "weights_converter/checkpoint/tensor_walk.h"

#include <algorithm>
#include <cstdio>

#include "weights_converter/checkpoint/byte_reader.h"

namespace lightcap::internal {
namespace {

using Entries = std::vector<Pickle::Entry>;

class Walker {
 public:
  Walker(const Pickle& pickle, StorageSource& source, const ScriptClasses& classes, Budget& budget,
         Checkpoint& checkpoint)
      : pickle_(pickle),
        classes_(classes),
        budget_(budget),
        checkpoint_(checkpoint),
        decoder_(pickle, checkpoint, source),
        on_path_(pickle.node_count(), false) {}

  void run() {
    push(pickle_.root(), Link::kNone, 0);
    while (!tasks_.empty()) {
      const Task task = tasks_.back();
      tasks_.pop_back();
      if (task.link == Link::kLeave) {
        on_path_[task.node] = false;
      } else {
        enter(task);
        visit(task.node);
      }
    }
  }

 private:
  // The link from a container to an item of it: a key, a position, or nothing that has a name.
  // `kLeave` ends the visit of a node, after its children.
  enum class Link : uint8_t { kKey, kPosition, kNone, kLeave };

  // Depth first without recursion.
  struct Task {
    NodeId node;
    NodeId key;
    uint32_t position;
    Link link;
    size_t parent_size;  // of the part of path_ that is the container's
  };

  void push(NodeId node, Link link, size_t position, NodeId key = kNoNode) {
    budget_.charge(sizeof(Task));
    tasks_.push_back({node, key, static_cast<uint32_t>(position), link, path_.size()});
  }

  // Makes path_ that of the task's node. Its container's is its beginning, because the path's later
  // parts are those of items that came before.
  void enter(const Task& task) {
    path_.resize(task.parent_size);
    if (task.link == Link::kPosition) {
      add_to_path(std::to_string(task.position));
    } else if (task.link == Link::kKey) {
      const auto text = pickle_.string(task.key);
      if (text) {
        add_to_path(*text);
      } else {
        add_to_path(key_text(task.key, task.position));
      }
    }
  }
  void add_to_path(std::string_view name) {
    budget_.charge(name.size());
    if (!path_.empty()) path_ += '.';
    path_ += name;
  }
  // A key as text in a path, for keys that are no strings too.
  std::string key_text(NodeId key, size_t position) const {
    if (pickle_.is(key, NodeKind::kBool)) return pickle_[key].integer != 0 ? "True" : "False";
    if (pickle_.is(key, NodeKind::kInt)) return std::to_string(pickle_[key].integer);
    if (pickle_.is(key, NodeKind::kNone)) return "None";
    return "<key " + std::to_string(position) + ">";
  }

  void visit(NodeId node) {
    std::optional<CheckpointTensor> tensor = decode(node);
    if (tensor) {
      checkpoint_.tensors.push_back(std::move(*tensor));
      return;
    }
    if (is_numpy_array(node)) {
      budget_.charge(sizeof(std::string) + path_.size());
      checkpoint_.numpy_arrays.push_back(path_);
      return;
    }
    // A dictionary that holds itself: everything in it has a name already.
    if (on_path_[node]) return;
    const size_t first = tasks_.size();
    push(node, Link::kLeave, 0);
    push_children(node);
    if (tasks_.size() == first + 1) {
      tasks_.pop_back();
      return;
    }
    on_path_[node] = true;
    // The last one pushed is visited first.
    std::reverse(tasks_.begin() + static_cast<ptrdiff_t>(first) + 1, tasks_.end());
  }

  // The path of an attribute of the node at path_.
  std::string attribute_path(std::string_view name) const {
    std::string result;
    result.reserve(path_.size() + 1 + name.size());
    result += path_;
    if (!path_.empty()) result += '.';
    return result += name;
  }
  std::string charged_path(std::string_view name) {
    budget_.charge(uint64_t{path_.size()} + 1 + name.size());
    return attribute_path(name);
  }

  // The tensor that the node at path_ is, or an attribute of it.
  std::optional<CheckpointTensor> decode(NodeId node,
                                         std::optional<std::string_view> attribute = {}) {
    std::optional<CheckpointTensor> tensor;
    try {
      tensor = decoder_.decode(node);
    } catch (const Error& error) {
      fail_checkpoint("tensor '" + excerpt(attribute ? attribute_path(*attribute) : path_) +
                      "': " + error.what());
    }
    if (tensor) {
      budget_.charge(kTensorCost + 2 * sizeof(uint64_t) * tensor->shape.size() +
                     tensor->refusal.size());
      if (attribute) {
        tensor->name = charged_path(*attribute);
      } else {
        budget_.charge(path_.size());
        tensor->name = path_;
      }
    }
    return tensor;
  }

  bool is_numpy_array(NodeId node) const {
    const std::string_view function = pickle_.class_name(node);
    return function.starts_with("numpy.") && (function.ends_with(".multiarray._reconstruct") ||
                                              function.ends_with(".numeric._frombuffer"));
  }

  static bool may_hold_tensors(NodeKind kind) {
    return kind == NodeKind::kTuple || kind == NodeKind::kList || kind == NodeKind::kDict ||
           kind == NodeKind::kObject || kind == NodeKind::kPersistent;
  }
  void push_child(NodeId node, Link link, size_t position, NodeId key = kNoNode) {
    if (may_hold_tensors(pickle_[node].kind)) push(node, link, position, key);
  }
  void push_items(NodeId node) {
    const auto items = pickle_.items(node);
    budget_.charge(items.size_bytes());
    for (size_t i = 0; i < items.size(); ++i) push_child(items[i], Link::kPosition, i);
  }
  void push_entries(const Entries& entries) {
    for (size_t i = 0; i < entries.size(); ++i) {
      push_child(entries[i].second, Link::kKey, i, entries[i].first);
    }
  }

  void push_children(NodeId node) {
    const Node& value = pickle_[node];
    if (value.kind == NodeKind::kTuple || value.kind == NodeKind::kList) {
      push_items(node);
      return;
    }
    if (value.kind != NodeKind::kDict && value.kind != NodeKind::kObject) return;
    const std::string_view class_name = pickle_.class_name(node);
    if (class_name.starts_with("torch.jit._pickle.")) {
      // build_intlist(list), restore_type_tag(value, type): a value whose type is written down.
      if (!pickle_.arguments(node).empty()) push(pickle_.arguments(node)[0], Link::kNone, 0);
      return;
    }
    if (class_name == "torch._dynamo.eval_frame.OptimizedModule" && !pickle_.attributes(node) &&
        !pickle_.arguments(node).empty()) {
      // torch.compile's: the module is what it is called with.
      push(pickle_.arguments(node)[0], Link::kNone, 0);
      return;
    }
    if (const auto entries = pickle_.entries(node)) {
      push_entries(*entries);
      return;
    }
    push_items(node);
    const auto attributes = pickle_.attributes(node);
    if (!attributes) return;
    const auto script_class = classes_.find(class_name);
    if (script_class != classes_.end()) {
      push_script_module(script_class->second, *attributes);
    } else if (!push_module(*attributes)) {
      push_entries(*attributes);
      return;
    }
    add_attributes(class_name, *attributes);
  }

  void push_script_module(const ScriptClass& script_class, const Entries& attributes) {
    if (!script_class.is_module) return;
    for (size_t i = 0; i < attributes.size(); ++i) {
      const auto& [key, value] = attributes[i];
      const auto name = pickle_.string(key);
      if (!name) continue;
      budget_.charge(name->size());  // it may be compared with a name as long
      const bool submodule = classes_.count(pickle_.class_name(value)) != 0;
      const bool declared =
          !script_class.declares_buffers || script_class.tensors.count(*name) != 0;
      if (submodule || declared) push_child(value, Link::kKey, i, key);
    }
  }

  // Pushes what Module.state_dict() gives: parameters, then buffers but for those marked otherwise,
  // then the children's. False where the object is no torch.nn.Module.
  bool push_module(const Entries& attributes) {
    const auto part = [&](const char* name) {
      return pickle_.entries(Pickle::find(pickle_, attributes, name));
    };
    const auto parameters = part("_parameters"), buffers = part("_buffers"),
               modules = part("_modules");
    if (!parameters || !buffers || !modules) return false;
    push_entries(*parameters);
    const std::vector<uint32_t> transient =
        texts_in_set(Pickle::find(pickle_, attributes, "_non_persistent_buffers_set"));
    for (size_t i = 0; i < buffers->size(); ++i) {
      const auto& [key, value] = (*buffers)[i];
      const bool persistent =
          pickle_.is(key, NodeKind::kString) &&
          !std::binary_search(transient.begin(), transient.end(), pickle_.text_number(key));
      if (persistent) push_child(value, Link::kKey, i, key);
    }
    push_entries(*modules);
    return true;
  }

  // Their numbers, sorted.
  std::vector<uint32_t> texts_in_set(NodeId node) {
    std::vector<uint32_t> texts;
    if (pickle_.is(node, NodeKind::kObject) && pickle_.arguments(node).size() == 1) {
      node = pickle_.arguments(node)[0];  // protocol 2: builtins.set([...])
    }
    if (node == kNoNode) return texts;
    const auto items = pickle_.items(node);
    budget_.charge(kSortCost * items.size_bytes());
    for (const NodeId item : items) {
      if (pickle_.is(item, NodeKind::kString)) texts.push_back(pickle_.text_number(item));
    }
    std::sort(texts.begin(), texts.end());
    return texts;
  }

  // --- attributes ---

  void add_attributes(std::string_view class_name, const Entries& attributes) {
    budget_.charge(sizeof(std::string) + class_name.size());
    add_attribute(charged_path("__class__"), {{}, {std::string(class_name)}});
    for (const auto& [key, value] : attributes) {
      const auto name = pickle_.string(key);
      if (!name || name->starts_with("_")) continue;
      Attribute attribute = simple_value(value);
      if (!attribute.numbers.empty() || !attribute.texts.empty()) {
        add_attribute(charged_path(*name), std::move(attribute));
      } else if (const auto entries = pickle_.entries(value)) {
        add_dictionary(*name, *entries);
      } else if (auto tensor = decode(value, *name)) {
        checkpoint_.attribute_tensors.push_back(std::move(*tensor));
      }
    }
  }
  void add_dictionary(std::string_view name, const Entries& entries) {
    for (const auto& [key, value] : entries) {
      Attribute attribute;
      const auto text = pickle_.string(key);
      if (!text || !add_scalar(value, attribute)) continue;
      const uint64_t size = uint64_t{path_.size()} + 1 + name.size() + 1 + text->size();
      budget_.charge(size);
      std::string path;
      path.reserve(size);
      path += attribute_path(name);
      path += '.';
      path += *text;
      add_attribute(std::move(path), std::move(attribute));
    }
  }
  void add_attribute(std::string path, Attribute value) {
    budget_.charge(kMapNodeCost + sizeof(decltype(Checkpoint::attributes)::value_type));
    checkpoint_.attributes.insert_or_assign(std::move(path), std::move(value));
  }

  bool add_scalar(NodeId id, Attribute& attribute) {
    if (const auto text = pickle_.string(id)) {
      budget_.charge(sizeof(std::string) + text->size());
      attribute.texts.emplace_back(*text);
      return true;
    }
    budget_.charge(sizeof(double));
    if (const auto number = pickle_.integer(id)) {
      attribute.numbers.push_back(static_cast<double>(*number));
    } else if (pickle_.is(id, NodeKind::kFloat)) {
      attribute.numbers.push_back(pickle_[id].real);
    } else {
      return false;
    }
    return true;
  }

  // A scalar, a list of scalars of one kind, or a dictionary {0: ..., 1: ...} of such; empty for
  // anything else.
  Attribute simple_value(NodeId id) {
    Attribute attribute;
    if (add_scalar(id, attribute)) return attribute;
    std::vector<NodeId> items;
    if (pickle_.is(id, NodeKind::kList) || pickle_.is(id, NodeKind::kTuple)) {
      budget_.charge(pickle_.items(id).size_bytes());
      items.assign(pickle_.items(id).begin(), pickle_.items(id).end());
    } else if (const auto entries = pickle_.entries(id)) {
      for (size_t i = 0; i < entries->size(); ++i) {
        if (pickle_.integer((*entries)[i].first) != static_cast<int64_t>(i)) return {};
        items.push_back((*entries)[i].second);
      }
    }
    for (const NodeId item : items) {
      if (!add_scalar(item, attribute)) return {};
    }
    if (!attribute.numbers.empty() && !attribute.texts.empty()) return {};
    return attribute;
  }

  // Bytes that a tensor takes in a vector that grows, with the allocator's own.
  static constexpr uint64_t kTensorCost = 3 * sizeof(CheckpointTensor) / 2 + 64;
  // Budget for sorting a number, beside reading it.
  static constexpr uint64_t kSortCost = 4;
  // Bytes that a map takes for an entry beside the entry.
  static constexpr uint64_t kMapNodeCost = 48;

  const Pickle& pickle_;
  const ScriptClasses& classes_;
  Budget& budget_;
  Checkpoint& checkpoint_;
  TensorDecoder decoder_;
  std::vector<Task> tasks_;
  std::string path_;  // of the node that is visited
  std::vector<bool> on_path_;
};

}  // namespace

void collect_tensors(const Pickle& pickle, StorageSource& source, const ScriptClasses& classes,
                     Budget& budget, Checkpoint& checkpoint) {
  Walker(pickle, source, classes, budget, checkpoint).run();
}

}  // namespace lightcap::internal
