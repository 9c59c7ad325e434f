#include "weights_converter/checkpoint/pickle.h"

#include <map>

namespace lightcap {

std::string_view Pickle::class_name(NodeId id) const {
  if (!is(id, NodeKind::kObject)) return {};
  NodeId callable = nodes_[id].callable;
  if (is(callable, NodeKind::kPersistent)) {
    // Old files keep a class's source beside it: ('module', class, file, text) or, in tar files,
    // (class, file, text).
    const auto fields = items(nodes_[callable].arguments);
    const size_t position = !fields.empty() && string(fields[0]) == "module" ? 1 : 0;
    callable = position < fields.size() ? fields[position] : kNoNode;
  }
  return is(callable, NodeKind::kGlobal) ? nodes_[callable].text : std::string_view();
}

std::span<const NodeId> Pickle::arguments(NodeId id) const {
  if (!is(id, NodeKind::kObject) || !is(nodes_[id].arguments, NodeKind::kTuple)) return {};
  return items(nodes_[id].arguments);
}

std::optional<int64_t> Pickle::integer(NodeId id) const {
  if (!is(id, NodeKind::kInt) && !is(id, NodeKind::kBool)) return std::nullopt;
  return nodes_[id].integer;
}

std::optional<std::string_view> Pickle::string(NodeId id) const {
  if (!is(id, NodeKind::kString)) return std::nullopt;
  return nodes_[id].text;
}

std::optional<std::vector<Pickle::Entry>> Pickle::entries(NodeId id) const {
  std::vector<NodeId> flat;
  if (is(id, NodeKind::kDict)) {
    flat.assign(items(id).begin(), items(id).end());
  } else if (is(id, NodeKind::kObject)) {
    const bool ordered = class_name(id) == "collections.OrderedDict";
    // Python 2 gives the entries to the constructor: a list of pairs, or of lists of two.
    const auto made_with = arguments(id);
    if (ordered && made_with.size() == 1) {
      for (const NodeId pair : items(made_with[0])) {
        const auto values = items(pair);
        if (values.size() == 2) flat.insert(flat.end(), values.begin(), values.end());
      }
    }
    if (nodes_[id].integer != 0) {
      flat.insert(flat.end(), items(id).begin(), items(id).end());
    } else if (!ordered) {
      return std::nullopt;
    }
    if (flat.size() % 2 != 0) return std::nullopt;
  } else {
    return std::nullopt;
  }

  std::vector<Entry> result;
  std::map<std::string_view, size_t> by_key;
  for (size_t i = 0; i < flat.size(); i += 2) {
    if (const auto key = string(flat[i])) {
      const auto [found, added] = by_key.emplace(*key, result.size());
      if (!added) {
        result[found->second].second = flat[i + 1];
        continue;
      }
    }
    result.emplace_back(flat[i], flat[i + 1]);
  }
  return result;
}

std::optional<std::vector<Pickle::Entry>> Pickle::attributes(NodeId id) const {
  if (!is(id, NodeKind::kObject)) return std::nullopt;
  NodeId state = nodes_[id].state;
  // Classes with __slots__ have a pair: the dictionary and the slots.
  if (is(state, NodeKind::kTuple) && items(state).size() == 2) state = items(state)[0];
  return entries(state);
}

NodeId Pickle::find(const Pickle& pickle, const std::vector<Entry>& entries, std::string_view key) {
  for (const auto& [name, value] : entries) {
    if (pickle.string(name) == key) return value;
  }
  return kNoNode;
}

}  // namespace lightcap
