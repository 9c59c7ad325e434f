#include "weights_converter/checkpoint/tensor_walk.h"

#include <algorithm>
#include <cstdio>

#include "weights_converter/checkpoint/byte_reader.h"

namespace lightcap {
namespace {

using Entries = std::vector<Pickle::Entry>;

std::string join(const std::string& path, std::string_view name) {
  std::string result = path;
  if (!path.empty()) result += '.';
  return result += name;
}

class Walker {
 public:
  Walker(const Pickle& pickle, StorageSource& source, const ScriptClasses& classes,
         Checkpoint& checkpoint)
      : pickle_(pickle),
        classes_(classes),
        checkpoint_(checkpoint),
        decoder_(pickle, checkpoint, source),
        on_path_(pickle.node_count(), false),
        visits_left_(64 * pickle.node_count() + 1024),
        name_bytes_left_(64 * pickle.size() + (size_t{1} << 20)) {}

  void run() {
    push(pickle_.root(), "");
    while (!tasks_.empty()) {
      const Task task = std::move(tasks_.back());
      tasks_.pop_back();
      if (task.leave) {
        on_path_[task.node] = false;
      } else {
        visit(task);
      }
    }
  }

 private:
  // Depth first without recursion. `leave` ends the visit of a node, after its children.
  struct Task {
    NodeId node;
    std::string path;
    bool leave = false;
  };

  void spend(size_t& budget, size_t cost) {
    if (cost > budget) {
      fail_checkpoint(
          "the pickle's values are nested or repeated so often that their names would take memory "
          "out of proportion to the file: refused");
    }
    budget -= cost;
  }

  void push(NodeId node, std::string path) {
    spend(name_bytes_left_, path.size());
    tasks_.push_back({node, std::move(path), false});
  }

  void visit(const Task& task) {
    spend(visits_left_, 1);
    std::optional<CheckpointTensor> tensor = decode(task.node, task.path);
    if (tensor) {
      checkpoint_.tensors.push_back(std::move(*tensor));
      return;
    }
    // A dictionary that holds itself: everything in it has a name already.
    if (on_path_[task.node]) return;
    const size_t first = tasks_.size();
    tasks_.push_back({task.node, "", true});
    push_children(task.node, task.path);
    if (tasks_.size() == first + 1) {
      tasks_.pop_back();
      return;
    }
    on_path_[task.node] = true;
    // The last one pushed is visited first.
    std::reverse(tasks_.begin() + static_cast<ptrdiff_t>(first) + 1, tasks_.end());
  }

  std::optional<CheckpointTensor> decode(NodeId node, const std::string& path) {
    try {
      std::optional<CheckpointTensor> tensor = decoder_.decode(node);
      if (tensor) tensor->name = path;
      return tensor;
    } catch (const Error& error) {
      fail_checkpoint("tensor '" + printable(path) + "': " + error.what());
    }
  }

  static bool may_hold_tensors(NodeKind kind) {
    return kind == NodeKind::kTuple || kind == NodeKind::kList || kind == NodeKind::kDict ||
           kind == NodeKind::kObject || kind == NodeKind::kPersistent;
  }
  void push_child(NodeId node, const std::string& path, std::string_view name) {
    spend(visits_left_, 1);
    if (may_hold_tensors(pickle_[node].kind)) push(node, join(path, name));
  }
  void push_items(NodeId node, const std::string& path) {
    size_t index = 0;
    for (const NodeId item : pickle_.items(node)) push_child(item, path, std::to_string(index++));
  }
  void push_entries(const Entries& entries, const std::string& path) {
    for (size_t i = 0; i < entries.size(); ++i) {
      push_child(entries[i].second, path, key_text(entries[i].first, i));
    }
  }

  std::string key_text(NodeId key, size_t position) const {
    if (const auto text = pickle_.string(key)) return std::string(*text);
    if (pickle_.is(key, NodeKind::kBool)) return pickle_[key].integer != 0 ? "True" : "False";
    if (pickle_.is(key, NodeKind::kInt)) return std::to_string(pickle_[key].integer);
    if (pickle_.is(key, NodeKind::kNone)) return "None";
    return "<key " + std::to_string(position) + ">";
  }

  void push_children(NodeId node, const std::string& path) {
    const Node& value = pickle_[node];
    if (value.kind == NodeKind::kTuple || value.kind == NodeKind::kList) {
      push_items(node, path);
      return;
    }
    if (value.kind != NodeKind::kDict && value.kind != NodeKind::kObject) return;
    const std::string_view class_name = pickle_.class_name(node);
    if (class_name.starts_with("torch.jit._pickle.")) {
      // build_intlist(list), restore_type_tag(value, type): a value whose type is written down.
      if (!pickle_.arguments(node).empty()) push(pickle_.arguments(node)[0], path);
      return;
    }
    // Making the entries costs as much as they are many, for each visit.
    spend(visits_left_, pickle_.items(node).size());
    if (const auto entries = pickle_.entries(node)) {
      push_entries(*entries, path);
      return;
    }
    push_items(node, path);
    const auto attributes = pickle_.attributes(node);
    if (!attributes) return;
    spend(visits_left_, attributes->size());
    const auto script_class = classes_.find(class_name);
    if (script_class != classes_.end()) {
      push_script_module(script_class->second, *attributes, path);
    } else if (!push_module(*attributes, path)) {
      push_entries(*attributes, path);
      return;
    }
    add_attributes(class_name, *attributes, path);
  }

  void push_script_module(const ScriptClass& script_class, const Entries& attributes,
                          const std::string& path) {
    if (!script_class.is_module) return;
    for (const auto& [key, value] : attributes) {
      const auto name = pickle_.string(key);
      if (!name) continue;
      const bool submodule = classes_.count(pickle_.class_name(value)) != 0;
      const bool declared =
          !script_class.declares_buffers || script_class.tensors.count(*name) != 0;
      if (submodule || declared) push_child(value, path, *name);
    }
  }

  // What Module.state_dict() gives: parameters, then buffers but for those marked otherwise, then
  // the children's. False where the object is no torch.nn.Module.
  bool push_module(const Entries& attributes, const std::string& path) {
    const auto part = [&](const char* name) {
      return pickle_.entries(Pickle::find(pickle_, attributes, name));
    };
    const auto parameters = part("_parameters"), buffers = part("_buffers"),
               modules = part("_modules");
    if (!parameters || !buffers || !modules) return false;
    push_entries(*parameters, path);
    const std::set<std::string_view> transient =
        names_in_set(Pickle::find(pickle_, attributes, "_non_persistent_buffers_set"));
    for (const auto& [key, value] : *buffers) {
      const auto name = pickle_.string(key);
      if (name && transient.count(*name) == 0) push_child(value, path, *name);
    }
    push_entries(*modules, path);
    return true;
  }

  std::set<std::string_view> names_in_set(NodeId node) {
    std::set<std::string_view> names;
    if (pickle_.is(node, NodeKind::kObject) && pickle_.arguments(node).size() == 1) {
      node = pickle_.arguments(node)[0];  // protocol 2: builtins.set([...])
    }
    if (node == kNoNode) return names;
    spend(visits_left_, pickle_.items(node).size());
    for (const NodeId item : pickle_.items(node)) {
      if (const auto name = pickle_.string(item)) names.insert(*name);
    }
    return names;
  }

  // --- attributes ---

  void add_attributes(std::string_view class_name, const Entries& attributes,
                      const std::string& path) {
    add_attribute(join(path, "__class__"), {{}, {std::string(class_name)}});
    for (const auto& [key, value] : attributes) {
      const auto name = pickle_.string(key);
      if (!name || name->starts_with("_")) continue;
      const std::string full = join(path, *name);
      Attribute attribute = simple_value(value);
      if (!attribute.numbers.empty() || !attribute.texts.empty()) {
        add_attribute(full, std::move(attribute));
      } else if (const auto entries = pickle_.entries(value)) {
        spend(visits_left_, entries->size());
        for (const auto& [inner_key, inner] : *entries) {
          Attribute inner_attribute;
          const auto text = pickle_.string(inner_key);
          if (text && add_scalar(inner, inner_attribute)) {
            add_attribute(join(full, *text), std::move(inner_attribute));
          }
        }
      } else if (auto tensor = decode(value, full)) {
        checkpoint_.attribute_tensors.push_back(std::move(*tensor));
      }
    }
  }
  void add_attribute(std::string path, Attribute value) {
    spend(name_bytes_left_, path.size());
    checkpoint_.attributes.insert_or_assign(std::move(path), std::move(value));
  }

  bool add_scalar(NodeId id, Attribute& attribute) {
    if (const auto text = pickle_.string(id)) {
      spend(name_bytes_left_, text->size());
      attribute.texts.emplace_back(*text);
    } else if (const auto number = pickle_.integer(id)) {
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
      items.assign(pickle_.items(id).begin(), pickle_.items(id).end());
    } else if (const auto entries = pickle_.entries(id)) {
      for (size_t i = 0; i < entries->size(); ++i) {
        if (pickle_.integer((*entries)[i].first) != static_cast<int64_t>(i)) return {};
        items.push_back((*entries)[i].second);
      }
    }
    spend(visits_left_, items.size());
    for (const NodeId item : items) {
      if (!add_scalar(item, attribute)) return {};
    }
    if (!attribute.numbers.empty() && !attribute.texts.empty()) return {};
    return attribute;
  }

  const Pickle& pickle_;
  const ScriptClasses& classes_;
  Checkpoint& checkpoint_;
  TensorDecoder decoder_;
  std::vector<Task> tasks_;
  std::vector<bool> on_path_;
  size_t visits_left_;
  size_t name_bytes_left_;
};

}  // namespace

void collect_tensors(const Pickle& pickle, StorageSource& source, const ScriptClasses& classes,
                     Checkpoint& checkpoint) {
  Walker(pickle, source, classes, checkpoint).run();
}

}  // namespace lightcap
